"""Poses of a recorded video as the live pipeline publishes them, for any look-ahead (lag) and hop.

Videos go through the pipeline's ring buffer, so a window holds the frames captured so far and repeats the
first frame before it. A pass comes every `hop` frames and has `lag` frames after the last frame it publishes;
the end of the video cuts both short. Each pass is blended with the pass before. Frames keep their own rate
(`lifter.resample: native`).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lifter.data.sequence import LabelledSequence
from lifter.runner import Runner
from lifter.spec import LifterSpec
from stream.messages import F32
from stream.postprocess.blend import PassBlender, default_blend_frames
from stream.windows.ring import Ring

MIN_SCORE = 0.05  # joints with a lower score count as missing, as by default of `lifter.min_score`
_BATCH = 4  # larger batches do not fit the CPU's cache and are slower
_WARM_UP_FRAMES = 40  # lifted before the first frame, so that blending has settled

LagHop = tuple[int, int]
Indices = NDArray[np.int64]


def window_ends(frames: Indices, lag: int, hop: int, length: int) -> Indices:
    """End (exclusive) of the window whose pass publishes each of `frames` (N,) of a video of `length`."""
    return np.minimum((frames // hop + 1) * hop + lag, length)


def published_poses(
    runner: Runner,
    video: LabelledSequence,
    frames: Indices,
    pairs: Iterable[LagHop],
    blend: int | None = None,
) -> dict[LagHop, F32]:
    """Poses (N, J, 3) of successive `frames` (N,) as published live, for each lag and hop.

    blend: frames over which passes are blended, None for the default of the lag. Windows that several pairs
    need are lifted once.
    """
    length = len(video.keypoints)
    lifted_frames = np.arange(max(0, int(frames[0]) - _WARM_UP_FRAMES), frames[-1] + 1)
    ends = {pair: window_ends(lifted_frames, *pair, length) for pair in pairs}
    ring = _filled_ring(video, runner.spec)
    windows = _lift_windows(runner, video, ring, np.unique(np.concatenate(list(ends.values()))).tolist())
    poses = {}
    for (lag, hop), pair_ends in ends.items():
        passes = dict(zip((lifted_frames // hop).tolist(), pair_ends.tolist(), strict=True))
        blender = PassBlender(default_blend_frames(lag) if blend is None else blend)
        rows: dict[int, F32] = {}
        for number, end in passes.items():
            answered = range(number * hop, min((number + 1) * hop, length))
            captured_ns = np.maximum(np.arange(end - runner.spec.frames, end), 0)
            blended = blender.blend(ring, captured_ns, windows[end], answered[-1])
            rows.update({frame: blended[frame - end] for frame in answered})
        poses[lag, hop] = np.stack([rows[frame] for frame in frames.tolist()])
    return poses


def _filled_ring(video: LabelledSequence, spec: LifterSpec) -> Ring:
    """A ring buffer with all frames of a video; the capture time in ns is the frame's number."""
    ring = Ring(max(len(video.keypoints), spec.frames) + 2, spec.joints)
    for index, keypoints in enumerate(video.keypoints):
        score = np.where(keypoints[:, 2] < MIN_SCORE, np.float32(0), keypoints[:, 2])
        ring.push(keypoints[:, :2], score, index)
    return ring


def _lift_windows(runner: Runner, video: LabelledSequence, ring: Ring, ends: list[int]) -> dict[int, F32]:
    """Poses (F, J, 3) of the windows by their end."""
    poses: dict[int, F32] = {}
    for first in range(0, len(ends), _BATCH):
        batch = ends[first : first + _BATCH]
        windows = [ring.window(runner.spec.frames, video.size_wh, end) for end in batch]
        poses.update(zip(batch, runner.lift(windows), strict=True))
    return poses
