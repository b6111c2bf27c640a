"""Accuracy with windows of captured frames against windows resampled to the rate of the weights.

    python benchmarks/resampling.py MOTION.npz [--weights small] [--clips 300] [--hz 15 25 30 50 60 120]

Projects held-out motion capture with random cameras at each rate and adds the detector noise of the training.
newest: MPJPE in mm of each window's last frame, as live with lag 0; inside: MPJPE of the 1.5 s that end 0.5 s
before the last frame, at captured times. The scale of a clip is fitted, because no image shows it.
difference: resampled minus native over clips, with its standard error. Prints a table, then one JSON line.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lifter
from lifter.data import mocap as motion
from lifter.machine import machine
from lifter.synthesis.detector_noise import simulate_detector
from lifter.synthesis.virtual_camera import random_views
from stream.messages import F32, JointOrigin, Window
from stream.postprocess.lifted import LiftedWindow
from stream.windows.resample import resample

READ_S = 2.0  # at the end of every clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("motion", type=Path)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--hz", type=float, nargs="+", default=[15, 25, 30, 50, 60, 120])
    arguments = parser.parse_args()
    runner = lifter.load(arguments.weights, threads=1)
    held_out = motion.read_mocap(arguments.motion)
    print(f"{machine().text()}; {arguments.weights}, {arguments.clips} clips")
    print("   Hz   newest, mm: native  resampled  difference      inside: native  resampled")
    rows = [measure(runner, held_out, hz, arguments.clips) for hz in arguments.hz]
    print(json.dumps({"benchmark": "resampling", "weights": arguments.weights, "rows": rows}))


def measure(runner: Any, held_out: motion.MocapClips, hz: float, clips: int) -> dict[str, float]:
    spec = runner.spec
    length = round(max(spec.frames, spec.frames * hz / spec.rate_hz)) + 1
    generator = torch.Generator().manual_seed(1)
    errors: dict[str, list[tuple[float, float]]] = {"native": [], "resampled": []}
    for _ in range(clips):
        clip = held_out.draw(1, generator)
        speed = torch.full((1,), held_out.fps / hz)
        view = random_views(held_out.play(clip, torch.zeros(1), speed, length), generator)
        seen = captured(simulate_detector(view, generator)[0].numpy(), hz, view.size_wh[0].int().tolist())
        truth = (view.xyz[0, :, :17] - view.xyz[0, :, :1]).numpy()
        native = captured(seen.keypoints[-spec.frames :], hz, list(seen.size_wh))
        grid = resample(seen, spec.frames, round(1e9 / spec.rate_hz))
        for name, window in (("native", native), ("resampled", grid)):
            lifted = LiftedWindow(window, runner.lift([window])[0])
            at_ns = window.captured_ns[-1] - seen.captured_ns[-1] + seen.captured_ns[-round(READ_S * hz) :]
            poses = np.stack([lifted.pose(int(ns)) for ns in at_ns])
            errors[name].append(error(poses, truth[-len(at_ns) :], hz))
    native_mm, grid_mm = (np.array(errors[name]) for name in ("native", "resampled"))
    apart = grid_mm[:, 0] - native_mm[:, 0]
    row = {"hz": hz, "native": native_mm[:, 0].mean(), "resampled": grid_mm[:, 0].mean()}
    row |= {"difference": apart.mean(), "standard_error": apart.std() / len(apart) ** 0.5}
    row |= {"native_inside": native_mm[:, 1].mean(), "resampled_inside": grid_mm[:, 1].mean()}
    row = {name: round(float(value), 2) for name, value in row.items()}
    print("{hz:5g}{native:20.1f}{resampled:11.1f}{difference:8.2f} +- {standard_error:4.2f}"
          "{native_inside:17.1f}{resampled_inside:11.1f}".format(**row), flush=True)  # fmt: skip
    return row


def captured(keypoints: F32, hz: float, size_wh: list[int]) -> Window:
    at_ns = np.round(np.arange(len(keypoints)) * 1e9 / hz).astype(np.int64)
    origin = np.full(len(keypoints), JointOrigin.OBSERVED, np.uint8)
    return Window(keypoints, origin, at_ns, (size_wh[0], size_wh[1]))


def error(poses: F32, truth: F32, hz: float) -> tuple[float, float]:
    """MPJPE in mm of the last frame, and of those half a second and more before it."""
    scale = (poses * truth).sum() / np.square(poses).sum()
    off = 1e3 * np.linalg.norm(scale * poses - truth, axis=2).mean(axis=1)
    return float(off[-1]), float(off[: -round(hz / 2)].mean())


if __name__ == "__main__":
    main()
