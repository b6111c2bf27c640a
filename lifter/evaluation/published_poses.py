"""Poses of a recorded video as the live pipeline publishes them, for any look-ahead (lag) and hop.

Videos go through the pipeline's ring buffer, so a window holds the frames captured so far and repeats the
first frame before it. A pass comes every `hop` frames and has `lag` frames after the last frame it publishes;
the end of the video cuts both short. Each pass is blended with the pass before. Frames keep their own rate
(`lifter.resample: native`).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifter.data.sequence import LabelledSequence
from lifter.evaluation.metrics import F64
from lifter.runner import Runner
from lifter.spec import LifterSpec
from stream.messages import F32
from stream.postprocess.blend import PassBlender, default_blend_frames
from stream.windows.ring import Ring

MIN_SCORE = 0.05  # joints with a lower score count as missing, as by default of `lifter.min_score`
_BATCH = 4  # larger batches do not fit the CPU's cache and are slower
_JITTER_FRAMES = 26  # over which the jitter inside a pass is averaged: 24 second differences
_WARM_UP_FRAMES = 40  # lifted before the first frame, so that blending has settled

LagHop = tuple[int, int]
Indices = NDArray[np.int64]


class PublishedPoses(NamedTuple):
    """poses (N, J, 3) in metres, as published.

    pass_jitter_mm (N,): second difference of the poses up to each frame in the pass that publishes it, before
    blending, mean over the joints and the last frames.
    """

    poses: F32
    pass_jitter_mm: F64


def window_ends(frames: Indices, lag: int, hop: int, length: int) -> Indices:
    """End (exclusive) of the window whose pass publishes each of `frames` (N,) of a video of `length`."""
    return np.minimum((frames // hop + 1) * hop + lag, length)


def published_poses(
    runner: Runner,
    video: LabelledSequence,
    frames: Indices,
    pairs: Iterable[LagHop],
    blend: int | None = None,
) -> dict[LagHop, PublishedPoses]:
    """Poses of successive `frames` (N,) as published live, for each lag and hop.

    blend: frames over which passes are blended, None for the default of the lag. Windows that several pairs
    need are lifted once.
    """
    length = len(video.keypoints)
    lifted_frames = np.arange(max(0, int(frames[0]) - _WARM_UP_FRAMES), frames[-1] + 1)
    ends = {pair: window_ends(lifted_frames, *pair, length) for pair in pairs}
    ring = _filled_ring(video.keypoints, runner.spec)
    windows = _lift_windows(runner, video, ring, np.unique(np.concatenate(list(ends.values()))).tolist())
    poses = {}
    for (lag, hop), pair_ends in ends.items():
        passes = dict(zip((lifted_frames // hop).tolist(), pair_ends.tolist(), strict=True))
        blender = PassBlender(default_blend_frames(lag) if blend is None else blend)
        rows: dict[int, F32] = {}
        pass_jitter: dict[int, float] = {}
        for number, end in passes.items():
            answered = range(number * hop, min((number + 1) * hop, length))
            captured_ns = np.maximum(np.arange(end - runner.spec.frames, end), 0)
            blended = blender.blend(ring, captured_ns, windows[end], answered[-1])
            rows.update({frame: blended[frame - end] for frame in answered})
            pass_jitter.update({frame: _jitter_mm(windows[end], frame - end) for frame in answered})
        numbers = frames.tolist()
        poses[lag, hop] = PublishedPoses(
            np.stack([rows[frame] for frame in numbers]),
            np.array([pass_jitter[frame] for frame in numbers]),
        )
    return poses


def poses_by_history(
    runner: Runner, video: LabelledSequence, frames: Indices, histories: Iterable[int]
) -> dict[int, F32]:
    """Poses (N, J, 3) of `frames` (N,), each the newest of a window of `history` frames, by history."""
    poses: dict[int, F32] = {}
    for history in histories:
        windows = []
        for frame in frames.tolist():
            start = max(0, frame + 1 - history)
            ring = _filled_ring(video.keypoints[start : frame + 1], runner.spec)
            windows.append(ring.window(runner.spec.frames, video.size_wh))
        parts = [
            runner.lift(windows[first : first + _BATCH], last=1) for first in range(0, len(windows), _BATCH)
        ]
        poses[history] = np.concatenate(parts)[:, -1]
    return poses


def _jitter_mm(poses: F32, row: int) -> float:
    """Second difference in mm of the poses of a pass (F, J, 3) up to a negative row, over frames and joints.

    Many frames count, because poses between kept frames are interpolated: most second differences are 0.
    """
    end = len(poses) + row + 1
    newest = poses[max(0, end - _JITTER_FRAMES) : max(end, 3)]
    return float(1000 * np.linalg.norm(np.diff(newest, n=2, axis=0), axis=-1).mean())


def _filled_ring(video_keypoints: F32, spec: LifterSpec) -> Ring:
    """A ring buffer with frames (L, J, 3) of a video; the capture time in ns is the frame's number."""
    ring = Ring(max(len(video_keypoints), spec.frames) + 2, spec.joints)
    for index, keypoints in enumerate(video_keypoints):
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
