"""Blending of lifter passes: jitter at the seams between them against jitter inside a pass, and the error.

    python benchmarks/pass_blending.py [--data motion_test.npz] [--blend off auto] [--hops 1 5] [--lags 0 8]

Lifts the packaged recording of the synthetic walker and, with --data (motion capture as `poselift train`
reads it, with simulated detector errors), the first --clips clips of at least 590 frames; for hop 1 only the
end of the first few. seam: mean second difference of joints within 3 frames of a seam; inside: the same
within a pass, over its published frames and up to 30 before them; ratio of the two. error: MPJPE. "off"
publishes each pass as it is lifted. Prints a table, then one JSON line.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lifter
from lifter.h2ot.pipelines import cut_windows
from lifter.machine import machine
from lifter.runner import Runner
from lifter.synthesis import synthetic_clips
from sources.synthetic import LAP_S, Synthetic
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import JointOrigin, Window
from stream.postprocess.blend import PassBlender, default_blend_frames
from stream.protocols import ComponentContext
from stream.windows.ring import Ring

F64 = NDArray[np.float64]
NEAR = 3  # frames on each side of a seam that count as at the seam
STEP = 5  # all hops but 1 are multiples of it
DENSE = 120  # last frames of a clip that are lifted frame by frame, for hop 1
STEP_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class Clip:
    """Lifted poses (N, F, J, 3) of the windows that end before frames `ends` (N,), and the truth (L, J, 3).

    dense: the last windows end at every frame.
    """

    ends: NDArray[np.int64]
    poses: NDArray[np.float32]
    truth: NDArray[np.float32]
    dense: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """Per frame: jitter at seams and inside passes in mm per frame squared, error in mm."""

    seam: F64
    inside: F64
    error: F64


def main() -> None:
    arguments = parse()
    print(machine().text())
    runner = lifter.load(arguments.weights, device="auto", threads=1)
    clips = [lift(runner, *recording) for recording in recordings(arguments)]
    print(f"{len(clips)} clips, {sum(len(clip.truth) for clip in clips)} frames")
    print(f"{'lag':>4}{'hop':>5}{'blend':>7}{'seam':>8}{'inside':>8}{'ratio':>7}{'error':>8}")
    rows = []
    for lag in arguments.lags:
        for hop in arguments.hops:
            for blend in arguments.blend:
                row = measure(clips, hop, lag, blend_frames(blend, lag))
                print("".join(f"{value:>{width}}" for value, width in zip(row.values(), WIDTHS, strict=True)))
                rows.append(row)
    print(
        json.dumps(
            {
                "benchmark": "pass_blending",
                "machine": machine().text(),
                "weights": arguments.weights,
                "rows": rows,
            }
        )
    )


WIDTHS = (4, 5, 7, 8, 8, 7, 8)


def recordings(arguments: argparse.Namespace) -> Iterator[tuple]:
    """Keypoints (L, J, 3), truth (L, J, 3), image size, and whether to lift the end frame by frame."""
    frames = list(keypoint_files.read(PACKAGED_RECORDING))
    ring = Ring(len(frames) + 1, 17)
    for frame in frames:
        ring.push(frame.persons[0].xy, frame.persons[0].score, frame.header.captured_ns)
    settings = Synthetic.Settings(fps=50.0, frames=round(50 * LAP_S), pace="full")
    walk = Synthetic(settings, ComponentContext("walk"))
    truth = np.stack([walk.truth(seq)[0] for seq in range(len(frames))])
    size_wh = frames[0].size_wh
    yield ring.window(len(frames), size_wh).keypoints, truth - truth[:, :1], size_wh, True
    if arguments.data is None:
        return
    long = (
        clip for clip in synthetic_clips.synthetic_sequences(arguments.data) if len(clip.keypoints) >= 590
    )
    for number, sequence in enumerate(islice(long, arguments.clips)):
        keypoints, truth = sequence.keypoints[: arguments.frames], sequence.truth[: arguments.frames]
        yield keypoints, truth, sequence.size_wh, number < 3


def lift(runner: Runner, keypoints: NDArray, truth: NDArray, size_wh: tuple[int, int], dense: bool) -> Clip:
    length, window = len(keypoints), runner.spec.frames
    ends = np.arange(STEP, length + 1, STEP)
    if dense:
        ends = np.union1d(ends, np.arange(length - DENSE + 1, length + 1))
    origin, times = np.full(window, JointOrigin.OBSERVED, np.uint8), np.arange(window)
    windows = cut_windows(keypoints, np.stack([ends - window, ends], axis=1))
    poses = [
        runner.lift([Window(window_keypoints, origin, times, size_wh)])[0] for window_keypoints in windows
    ]
    return Clip(ends, np.stack(poses), truth, dense)


def measure(clips: list[Clip], hop: int, lag: int, blend: int) -> dict[str, float]:
    figures = [stream(clip, hop, lag, blend) for clip in clips if hop > 1 or clip.dense]
    seam, inside, error = (
        float(np.concatenate([getattr(figure, name) for figure in figures]).mean())
        for name in ("seam", "inside", "error")
    )
    return {
        "lag": lag, "hop": hop, "blend": blend, "seam_mm": round(seam, 2), "inside_mm": round(inside, 2),
        "ratio": round(seam / inside, 2), "error_mm": round(error, 2),
    }  # fmt: skip


def stream(clip: Clip, hop: int, lag: int, blend: int) -> Figures:
    """The clip as a live stream publishes it."""
    window, length = clip.poses.shape[1], int(clip.ends[-1])
    at = {int(end): number for number, end in enumerate(clip.ends)}
    first = length - DENSE + 1 if hop == 1 else hop * -(-(lag + 1) // hop)
    blender, ring = PassBlender(blend), Ring(2, 17)
    published: list[NDArray] = []
    seams, inside = [], []
    start = next_frame = max(0, first - lag - hop)
    for end in range(first, length + 1, hop):
        poses = clip.poses[at[end]]
        # Before the first frame a window repeats it, at the same time.
        times = np.maximum(np.arange(end - window, end), 0) * STEP_NS
        blended = blender.blend(ring, times, poses, int(times[window - lag - 1]))
        if end - lag >= 60:
            inside.append(jitter_mm(poses[window - lag - max(hop, 30) : window - lag]))
        if published:
            seams.append(len(published))
        published += list(blended[next_frame - end + window : window - lag])
        next_frame = end - lag
    stream_poses = np.stack(published).astype(np.float64)
    centres = np.arange(1, len(stream_poses) - 1)
    near = (np.abs(centres[:, None] + 0.5 - np.array(seams)) <= NEAR).any(axis=1)
    error = np.linalg.norm(stream_poses - clip.truth[start:next_frame], axis=2).mean(axis=1)
    return Figures(jitter_mm(stream_poses)[near], np.concatenate(inside), 1e3 * error)


def jitter_mm(poses: NDArray) -> F64:
    """Second difference (N - 2,) of poses (N, J, 3), averaged over joints, mm per frame squared."""
    return 1e3 * np.linalg.norm(np.diff(poses.astype(np.float64), n=2, axis=0), axis=2).mean(axis=1)


def blend_frames(blend: str, lag: int) -> int:
    if blend.isdigit():
        return int(blend)
    return {"off": 0, "auto": default_blend_frames(lag)}[blend]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--data", type=Path, help="motion capture to render and lift as well")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--frames", type=int, default=450, help="of each clip")
    parser.add_argument("--hops", type=int, nargs="+", default=[1, 5, 10, 40, 80])
    parser.add_argument("--lags", type=int, nargs="+", default=[0, 8, 32])
    parser.add_argument("--blend", nargs="+", default=["off", "auto"], help="off, auto, or frames")
    return parser.parse_args()


if __name__ == "__main__":
    main()
