"""Repair of exchanged left and right joints: exchanged frames repaired, right frames kept.

    python benchmarks/left_right.py [--motion motion_test.npz] [--clips 40] [--seeds 2] [--noise-m 0.011]

A person's keypoints are exact projections with noise that is correlated in time. The detector then exchanges
left and right of the whole body, of the legs or of the arms for spans of 1 to 60 frames, one to two seconds
apart, with unchanged scores.
  walk   walking on a circle, seen from beside it
  turn   turning on the spot, once in two seconds
  sit    sitting before the camera and swaying
  clips  motion capture, with --motion, rendered with the fixed virtual cameras of the test clips
A frame counts as right when all pairs of joints that lie more than 5 % of the body apart are on their sides.
repaired: exchanged frames that are right afterwards; touched: right frames that are wrong afterwards, both in
percent; error frames: mean length of the remaining errors. Prints a table, then one JSON line.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lifter.machine import machine
from lifter.synthesis.noise import smooth_noise
from lifter.synthesis.synthetic_clips import synthetic_clips
from sources.walking_figure import VirtualCamera, Walk, figure
from stream.messages import F32, Header, KeypointFrame, Keypoints, Mask
from stream.protocols import ComponentContext
from stream.rotations import F64, axis_rotation
from stream.skeletons import skeleton_named
from stream.tracking.left_right import LeftRightRepair

SKELETON = skeleton_named("h36m17")
PAIRS = np.array(SKELETON.flip_pairs)
_IS_LEG = np.array([left in (4, 5, 6) for left, _ in SKELETON.flip_pairs])
EXCHANGES = {"body": np.ones(len(PAIRS), np.bool_), "legs": _IS_LEG, "arms": ~_IS_LEG}
CAMERA = VirtualCamera()
HZ, FRAMES = 50.0, 1000
NOISE_M = 0.011  # the median deviation of the simulated detector
MAX_SPAN = 60
MIN_CLIP_FRAMES = 150
WIDE = 0.05  # of the body's diagonal


def main() -> None:
    arguments = parse()
    print(machine().text())
    print(
        f"{'person':<8}{'exchanged':>10}{'frames':>9}{'repaired %':>12}{'touched %':>11}{'error frames':>14}"
    )
    results = {}
    for name in ("walk", "turn", "sit", "clips"):
        people = list(clips(arguments) if name == "clips" else figures(name, arguments.noise_m))
        if not people:
            continue
        for part, mask in EXCHANGES.items():
            row = summary([measure(xy, mask, seed) for xy in people for seed in range(arguments.seeds)])
            results[f"{name} {part}"] = row
            show(name, part, row)
        row = summary([measure(xy, None, 0) for xy in people])
        results[f"{name} alone"] = row
        show(name, "none", row)
    print(json.dumps({"benchmark": "left_right", "seeds": arguments.seeds, **results}))


def show(name: str, part: str, row: dict[str, float | None]) -> None:
    repaired = "-" if row["repaired"] is None else f"{row['repaired']:.1f}"
    values = f"{repaired:>12}{row['touched']:>11.2f}{row['error_frames']:>14.1f}"
    print(f"{name:<8}{part:>10}{row['frames']:>9}{values}", flush=True)


def measure(xy: F32, pairs: Mask | None, seed: int) -> tuple[Mask, Mask]:
    """Whether each frame was exchanged and whether it is right after the repair, (F,) each."""
    exchanged = exchange_plan(len(xy), seed) if pairs is not None else np.zeros(len(xy), np.bool_)
    repair = LeftRightRepair("h36m17", ComponentContext("cam0"))
    right = np.zeros(len(xy), np.bool_)
    for seq, points in enumerate(xy):
        frame = keypoint_frame(points, seq)
        given = exchange(frame, pairs) if pairs is not None and exchanged[seq] else frame
        right[seq] = is_right(repair.update(given), points)
    return exchanged, right


def summary(people: list[tuple[Mask, Mask]]) -> dict[str, float | None]:
    exchanged, right = (np.concatenate(column) for column in zip(*people, strict=True))
    wrong = ~right
    spans = int(np.count_nonzero(np.diff(wrong.astype(np.int8)) == 1)) + int(wrong[0])
    return {
        "frames": len(right),
        "repaired": round(100 * float(right[exchanged].mean()), 2) if exchanged.any() else None,
        "touched": round(100 * float(wrong[~exchanged].mean()), 3),
        "error_frames": round(int(wrong.sum()) / max(spans, 1), 1),
    }


def exchange_plan(frames: int, seed: int) -> Mask:
    """Frames (F,) with an exchange: spans of 1 to 60 frames, one to two seconds apart."""
    random, exchanged = np.random.default_rng(seed), np.zeros(frames, np.bool_)
    start = int(random.integers(25, 60))
    while start < frames:
        length = int(random.integers(1, MAX_SPAN + 1))
        exchanged[start : start + length] = True
        start += length + int(random.integers(50, 100))
    return exchanged


def exchange(frame: KeypointFrame, pairs: Mask) -> KeypointFrame:
    """The frame with left and right of these pairs (P,) exchanged."""
    order = np.arange(17)
    left, right = PAIRS[pairs].T
    order[left], order[right] = right, left
    person = frame.persons[0]
    return replace(frame, persons=(replace(person, xy=person.xy[order], score=person.score[order]),))


def is_right(frame: KeypointFrame, xy: F32) -> bool:
    """Whether all pairs of joints that lie far apart are where they were."""
    left, right = PAIRS.T
    wide = np.linalg.norm(xy[left] - xy[right], axis=1) > WIDE * np.hypot(*np.ptp(xy, axis=0))
    return np.array_equal(frame.persons[0].xy[PAIRS[wide]], xy[PAIRS[wide]])


def keypoint_frame(xy: F32, seq: int) -> KeypointFrame:
    at_ns = round(1e9 * seq / HZ)
    person = Keypoints(xy, np.linspace(0.5, 1.0, 17).astype(np.float32), "a0000")
    return KeypointFrame(Header("cam0", seq, at_ns, at_ns), (1280, 720), "h36m17", (person,), at_ns)


def figures(name: str, noise_m: float) -> Iterator[F32]:
    """Keypoints (F, 17, 2) px of the synthetic figure."""
    starts = (0.0, 1.5, 3.0) if name == "walk" else (0.0,)
    for start_rad in starts:
        seconds = np.arange(FRAMES) / HZ
        if name == "walk":
            xyz = np.stack([figure(t, Walk(start_rad=start_rad)) for t in seconds])
        else:
            xyz = on_the_spot(name == "sit", seconds)
        px_per_m = 1000.0 / np.abs(CAMERA.view(xyz)[:, 0, 2])
        yield noisy(CAMERA.project(CAMERA.view(xyz)), px_per_m, noise_m)


def on_the_spot(sits: bool, seconds: F64) -> F64:
    """A person (F, 17, 3) m who turns on the spot, or sits facing the camera and sways."""
    still = figure(0.3, Walk())
    still = still - still[0]
    if not sits:
        return np.stack([still @ axis_rotation(2, np.pi * t) + [0, 0, 0.86] for t in seconds])
    sitting = still @ axis_rotation(2, np.pi / 2) + [0, 0, 0.5]
    for hip, knee, ankle in ((1, 2, 3), (4, 5, 6)):
        sitting[knee] = sitting[hip] + [0.42, 0, 0]
        sitting[ankle] = sitting[knee] - [0, 0, 0.43]
    sway = 0.1 * np.sin(2 * np.pi * 0.3 * seconds)[:, None] * sitting[:, 2]
    return np.stack([sitting + np.outer(row, [0.0, 1.0, 0.0]) for row in sway])


def clips(arguments: argparse.Namespace) -> Iterator[F32]:
    """Keypoints (F, 17, 2) px of clips of motion capture, evenly spread over the long enough ones."""
    if arguments.motion is None:
        return
    long = [clip for clip in synthetic_clips(arguments.motion) if len(clip.clean) >= MIN_CLIP_FRAMES]
    for index in np.linspace(0, len(long) - 1, min(arguments.clips, len(long))).round().astype(int):
        yield noisy(long[index].clean, long[index].metre_px, arguments.noise_m)


def noisy(xy: F64 | F32, px_per_m: F64 | F32, noise_m: float) -> F32:
    """Keypoints (F, 17, 2) px with noise as of the simulated detector: slow, fast and white."""
    generator = torch.Generator().manual_seed(len(xy))
    white, fast, slow = (torch.randn(1, len(xy), 17, 2, generator=generator) for _ in range(3))
    error_m = 0.3 * white + 0.5 * smooth_noise(fast, 2.0) + 0.7 * smooth_noise(slow, 12.0)
    return (xy + noise_m * error_m[0].numpy() * px_per_m[:, None, None]).astype(np.float32)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--motion", type=Path, help="motion capture; without it the clips are left out")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--noise-m", type=float, default=NOISE_M, help="deviation of a joint in metres")
    return parser.parse_args()


if __name__ == "__main__":
    main()
