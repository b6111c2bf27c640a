"""What blending does at the seams between passes: jitter there against inside a pass, and the error.

    python benchmarks/seams.py [--data motion_test.npz] [--blend off auto] [--hops 1 5 40] [--lags 0 8 32]

Lifts the packaged recording of the synthetic walker and, with --data (motion capture as `poselift train`
reads it, seen by a detector with errors), the first --clips clips of at least 590 frames; hop 1 only the end
of the first few. seam: mean second difference of joints within 3 frames of a seam; inside: that of passes
themselves, over the frames they publish, and those before them up to 30; ratio of the two. error: MPJPE.
"off" publishes what each pass says. Prints a table, then one JSON line.
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
from lifter.h2ot.pipelines import cut
from lifter.machine import machine
from lifter.runner import Runner
from lifter.synthesis import test_clips as benchmark
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
    """What a lifter says in the windows that end before `ends` (N,): poses (N, F, J, 3); truth (L, J, 3)."""

    ends: NDArray[np.int64]
    poses: NDArray[np.float32]
    truth: NDArray[np.float32]
    dense: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """mm, mm per frame squared: each value of one frame."""

    seam: F64
    inside: F64
    error: F64


def main() -> None:
    arguments = parse()
    print(machine().text())
    runner = lifter.load(arguments.weights, device="auto", threads=1)
    clips = [lifted(runner, *material) for material in materials(arguments)]
    print(f"{len(clips)} clips, {sum(len(clip.truth) for clip in clips)} frames")
    print(f"{'lag':>4}{'hop':>5}{'blend':>7}{'seam':>8}{'inside':>8}{'ratio':>7}{'error':>8}")
    rows = []
    for lag in arguments.lags:
        for hop in arguments.hops:
            for blend in arguments.blend:
                row = measure(clips, hop, lag, frames_of(blend, lag))
                print("".join(f"{value:>{width}}" for value, width in zip(row.values(), WIDTHS, strict=True)))
                rows.append(row)
    print(
        json.dumps(
            {"benchmark": "seams", "machine": machine().text(), "weights": arguments.weights, "rows": rows}
        )
    )


WIDTHS = (4, 5, 7, 8, 8, 7, 8)


def materials(arguments: argparse.Namespace) -> Iterator[tuple]:
    """(keypoints (L, J, 3), truth (L, J, 3), image size, whether frame by frame at the end)."""
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
    long = (each for each in benchmark.sequences(arguments.data) if len(each.keypoints) >= 590)
    for number, sequence in enumerate(islice(long, arguments.clips)):
        keypoints, truth = sequence.keypoints[: arguments.frames], sequence.truth[: arguments.frames]
        yield keypoints, truth, sequence.size_wh, number < 3


def lifted(runner: Runner, keypoints: NDArray, truth: NDArray, size_wh: tuple[int, int], dense: bool) -> Clip:
    length, window = len(keypoints), runner.spec.frames
    ends = np.arange(STEP, length + 1, STEP)
    if dense:
        ends = np.union1d(ends, np.arange(length - DENSE + 1, length + 1))
    origin, times = np.full(window, JointOrigin.OBSERVED, np.uint8), np.arange(window)
    windows = cut(keypoints, np.stack([ends - window, ends], axis=1))
    poses = [runner.lift([Window(each, origin, times, size_wh)])[0] for each in windows]
    return Clip(ends, np.stack(poses), truth, dense)


def measure(clips: list[Clip], hop: int, lag: int, blend: int) -> dict[str, float]:
    figures = [streamed(clip, hop, lag, blend) for clip in clips if hop > 1 or clip.dense]
    seam, inside, error = (
        float(np.concatenate([getattr(each, name) for each in figures]).mean())
        for name in ("seam", "inside", "error")
    )
    return {
        "lag": lag, "hop": hop, "blend": blend, "seam_mm": round(seam, 2), "inside_mm": round(inside, 2),
        "ratio": round(seam / inside, 2), "error_mm": round(error, 2),
    }  # fmt: skip


def streamed(clip: Clip, hop: int, lag: int, blend: int) -> Figures:
    """The clip as a live stream publishes it."""
    window, length = clip.poses.shape[1], int(clip.ends[-1])
    at = {int(end): number for number, end in enumerate(clip.ends)}
    first = length - DENSE + 1 if hop == 1 else hop * -(-(lag + 1) // hop)
    seams, ring = PassBlender(blend), Ring(2, 17)
    published: list[NDArray] = []
    joins, inside = [], []
    start = next_frame = max(0, first - lag - hop)
    for end in range(first, length + 1, hop):
        said = clip.poses[at[end]]
        # Before the first frame a window repeats it, at the same time.
        times = np.maximum(np.arange(end - window, end), 0) * STEP_NS
        blended = seams.blend(ring, times, said, int(times[window - lag - 1]))
        if end - lag >= 60:
            inside.append(jitter_mm(said[window - lag - max(hop, 30) : window - lag]))
        if published:
            joins.append(len(published))
        published += list(blended[next_frame - end + window : window - lag])
        next_frame = end - lag
    poses = np.stack(published).astype(np.float64)
    centres = np.arange(1, len(poses) - 1)
    near = (np.abs(centres[:, None] + 0.5 - np.array(joins)) <= NEAR).any(axis=1)
    error = np.linalg.norm(poses - clip.truth[start:next_frame], axis=2).mean(axis=1)
    return Figures(jitter_mm(poses)[near], np.concatenate(inside), 1e3 * error)


def jitter_mm(poses: NDArray) -> F64:
    """Second difference (N - 2,), the mean of joints, mm per frame squared."""
    return 1e3 * np.linalg.norm(np.diff(poses.astype(np.float64), n=2, axis=0), axis=2).mean(axis=1)


def frames_of(blend: str, lag: int) -> int:
    return {"off": 0, "auto": default_blend_frames(lag)}[blend] if not blend.isdigit() else int(blend)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--data", type=Path, help="motion capture to film and lift as well")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--frames", type=int, default=450, help="of each clip")
    parser.add_argument("--hops", type=int, nargs="+", default=[1, 5, 10, 40, 80])
    parser.add_argument("--lags", type=int, nargs="+", default=[0, 8, 32])
    parser.add_argument("--blend", nargs="+", default=["off", "auto"], help="off, auto, or frames")
    return parser.parse_args()


if __name__ == "__main__":
    main()
