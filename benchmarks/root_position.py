"""Accuracy of root positions: the error of the root against the truth, for synthetic cameras and walkers.

    python benchmarks/root_position.py [--weights small] [--seconds 12] [--hz 25] [--noise-px 2] [--walkers 6]

Walkers of 1.55 to 1.90 m walk a circle before cameras of 45, 61 and 90 degrees, 3 to 9 m away. The first
table uses their true poses with noise, missing and wrong joints; the second the lifter's poses of a live
stream with lag 0. depth: error along the line of sight; lateral: across it; both in cm, and depth also in per
cent of the distance. jitter: mean second difference of the root in mm; across: its part across the line of
sight, which includes the walk itself (walk: the second difference of the true root). The first second is not
counted.
Prints tables, then one JSON line.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import lifter
from lifter.machine import machine
from sources.walking_figure import VirtualCamera, Walk, figure
from stream.cameras.intrinsics import Camera
from stream.messages import Header, JointOrigin, Pose, Window
from stream.postprocess.batch import PoseBatch
from stream.rotations import F64
from stream.scene.root_position import RootPosition
from stream.windows.ring import Ring

SIZE_WH = (1280, 720)
VIEWS = ((45.0, 7.5), (61.0, 5.5), (90.0, 4.5))  # degrees, metres from the middle of the circle


def main() -> None:
    arguments = parse()
    scenes = list(make_scenes(arguments))
    print(f"{machine().text()}\n{len(scenes)} walks of {arguments.seconds:g} s at {arguments.hz:g} Hz")
    print_header(f"true poses, {arguments.noise_px:g} px")
    exact = [row(arguments, name, scenes, worsen(**errors), settings) for name, errors, settings in TRUE]
    print_header(f"{arguments.weights}, {arguments.noise_px:g} px")
    poses = [lift(arguments.weights, scene) for scene in scenes]
    lifted = [row(arguments, name, scenes, poses, settings) for name, settings in LIFTED]
    for fov_deg, _ in VIEWS:
        numbers = [number for number, scene in enumerate(scenes) if scene.fov_deg == fov_deg]
        of_view = [scenes[number] for number in numbers], [poses[number] for number in numbers]
        lifted.append(row(arguments, f"height, {fov_deg:g} taken for 61", *of_view, "height"))
    result = {"benchmark": "root_position", "machine": machine().text(), "weights": arguments.weights}
    print(json.dumps(result | {"noise_px": arguments.noise_px, "true": exact, "lifted": lifted}))


class Scene:
    """A walker before a camera: truth (F, 17, 3) metres in camera axes, keypoints (F, 17, 3) with noise."""

    def __init__(
        self, fov_deg: float, camera: VirtualCamera, walk: Walk, arguments: argparse.Namespace
    ) -> None:
        self.fov_deg, self.camera, self.walk = fov_deg, camera, walk
        self.random = np.random.default_rng(0)
        self.at_s = np.arange(round(arguments.seconds * arguments.hz)) / arguments.hz
        self.truth = camera.view(np.stack([figure(t, walk) for t in self.at_s]))
        pixels = camera.project(self.truth)
        inside = ((pixels >= 0) & (pixels < SIZE_WH)).all(axis=2)
        pixels += self.random.normal(0, arguments.noise_px, pixels.shape)
        self.keypoints = np.concatenate([pixels, inside[..., None]], axis=2).astype(np.float32)

    @property
    def intrinsics(self) -> Camera.Settings:
        focal, (width, height) = self.camera.focal_px, SIZE_WH
        return Camera.Settings(size_wh=SIZE_WH, fx=focal, fy=focal, cx=width / 2, cy=height / 2)


def make_scenes(arguments: argparse.Namespace) -> Iterator[Scene]:
    for fov_deg, distance_m in VIEWS:
        focal_px = SIZE_WH[0] / 2 / math.tan(math.radians(fov_deg) / 2)
        for number in range(arguments.walkers):
            random = np.random.default_rng(number)
            camera = VirtualCamera(SIZE_WH, focal_px, (distance_m, 0.0, random.uniform(1.0, 2.5)))
            walk = Walk(
                height_m=random.uniform(1.55, 1.90),
                speed_m_s=random.uniform(0.8, 1.5),
                radius_m=1.5,
                start_rad=random.uniform(0, 2 * np.pi),
                stride_phase=random.uniform(),
            )
            yield Scene(fov_deg, camera, walk, arguments)


# Settings of the root position by name, made for a scene.
SETTINGS: dict[str, Any] = {
    "intrinsics": lambda scene: {"cameras": {"cam0": scene.intrinsics}},
    "both": lambda scene: {"cameras": {"cam0": scene.intrinsics}, "height_m": scene.walk.height_m},
    "height": lambda scene: {"height_m": scene.walk.height_m},
}
TRUE: tuple[tuple[str, dict[str, float], str], ...] = (
    ("exact", {}, "intrinsics"),
    ("joints off by 3 cm", {"joints_m": 0.03}, "intrinsics"),
    ("size off by 3 %", {"size": 0.03}, "intrinsics"),
    ("half the joints missing", {"joints_m": 0.03, "missing": 0.5}, "intrinsics"),
    ("3 joints elsewhere", {"joints_m": 0.03, "elsewhere": 3}, "intrinsics"),
)
LIFTED = (
    ("intrinsics and height", "both"),
    ("intrinsics", "intrinsics"),
)


def worsen(**errors: float) -> Any:
    """A function of a scene that gives its true poses (F, 17, 3) and its keypoints, both with errors."""

    def apply(scene: Scene) -> tuple[F64, F64]:
        random, frames = scene.random, len(scene.truth)
        poses = scene.truth - scene.truth[:, :1]
        poses[:, 1:] += random.normal(0, errors.get("joints_m", 0.0), poses[:, 1:].shape)
        poses *= random.normal(1, errors.get("size", 0.0), (frames, 1, 1))
        keypoints = scene.keypoints.copy()
        keypoints[random.random((frames, 17)) < errors.get("missing", 0.0), 2] = 0
        for frame in range(frames):
            wrong = random.choice(17, int(errors.get("elsewhere", 0)), replace=False)
            keypoints[frame, wrong, :2] = random.uniform((0, 0), SIZE_WH, (len(wrong), 2))
        return poses, keypoints

    return apply


def lift(weights: str, scene: Scene) -> F64:
    """The pose of each frame from the window that ends with it, (F, 17, 3) metres."""
    runner = lifter.load(weights, device="cpu", threads=1)
    ring = Ring(runner.spec.frames + 2, 17)
    windows: list[Window] = []
    for at_s, keypoints in zip(scene.at_s, scene.keypoints, strict=True):
        visible = keypoints[:, 2] > 0
        ring.push(np.where(visible[:, None], keypoints[:, :2], np.nan), keypoints[:, 2], round(at_s * 1e9))
        windows.append(ring.window(runner.spec.frames, SIZE_WH))
    return np.concatenate([runner.lift(windows[at : at + 16])[:, -1] for at in range(0, len(windows), 16)])


def row(arguments: argparse.Namespace, name: str, scenes: list[Scene], poses: Any, settings: str) -> dict:
    """One row of a table; poses: of each scene, or a function of a scene."""
    skip = round(arguments.hz)
    results = []
    times_s: list[float] = []
    for number, scene in enumerate(scenes):
        of_scene, keypoints = poses(scene) if callable(poses) else (poses[number], scene.keypoints)
        roots = find_roots(scene, of_scene, keypoints, SETTINGS[settings](scene), times_s)[skip:]
        results.append(root_errors(roots, scene.truth[skip:, 0]))
    columns = {key: np.concatenate([result[key] for result in results]) for key in results[0]}
    depth, share, lateral = (np.abs(columns[key]) for key in ("depth", "share", "lateral"))
    result = {
        "name": name, "settings": settings, "depth_cm": round(100 * np.nanmean(depth), 2),
        "depth_p95_cm": round(100 * np.nanpercentile(depth, 95), 2),
        "depth_percent": round(100 * np.nanmean(share), 2),
        "bias_percent": round(100 * np.nanmean(columns["share"]), 2),
        "lateral_cm": round(100 * np.nanmean(lateral), 2),
        "jitter_mm": round(1e3 * np.nanmean(columns["jitter"]), 2),
        "across_mm": round(1e3 * np.nanmean(columns["across"]), 2),
        "walk_mm": round(1e3 * np.nanmean(columns["walk"]), 2),
        "without_percent": round(100 * np.isnan(depth).mean(), 2),
        "us": round(1e6 * float(np.median(times_s)), 1),
    }  # fmt: skip
    print(f"{name:<28}" + "".join(f"{value:>10}" for value in list(result.values())[2:]))
    return result


def find_roots(scene: Scene, poses: F64, keypoints: F64, settings: dict, times_s: list[float]) -> F64:
    """Roots (F, 3) metres, NaN for frames without a root; appends the time of each frame to times_s."""
    step = RootPosition(RootPosition.Settings(**settings))
    roots = np.full((len(poses), 3), np.nan)
    for frame, at_s in enumerate(scene.at_s):
        score = keypoints[frame, :, 2].astype(np.float32)
        origin = np.where(score > 0, JointOrigin.OBSERVED, JointOrigin.PREDICTED).astype(np.uint8)
        pose = Pose("a", "ok", poses[frame].astype(np.float32), score, origin, kp2d=keypoints[frame])
        at_ns = round(at_s * 1e9)
        batch = PoseBatch.from_poses(
            "h36m17", Header("cam0", frame, at_ns, at_ns), SIZE_WH, [pose], "cam0_optical_frame"
        )
        started = time.perf_counter()
        step.apply(batch)
        times_s.append(time.perf_counter() - started)
        roots[frame] = batch.root[0]
    return roots


def root_errors(roots: F64, truth: F64) -> dict[str, F64]:
    """Errors of roots (F, 3) against the truth (F, 3), metres, one column per figure."""
    distance = np.linalg.norm(truth, axis=1)
    line_of_sight = truth / distance[:, None]
    error = roots - truth
    depth = (error * line_of_sight).sum(axis=1)
    lateral = np.linalg.norm(error - depth[:, None] * line_of_sight, axis=1)
    jitter, walk = (np.linalg.norm(np.diff(path, 2, axis=0), axis=1) for path in (roots, truth))
    at_true_depth = roots[:, :2] / roots[:, 2:] * truth[:, 2:]
    across = np.linalg.norm(np.diff(at_true_depth, 2, axis=0), axis=1)
    columns = {"depth": depth, "share": depth / distance, "lateral": lateral}
    return columns | {"jitter": jitter, "across": across, "walk": walk}


def print_header(title: str) -> None:
    names = ("depth cm", "p95", "%", "bias %", "lateral", "jitter", "across", "walk mm", "none %", "us")
    print(f"\n{title:<28}" + "".join(f"{name:>10}" for name in names))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--hz", type=float, default=25.0)
    parser.add_argument("--noise-px", type=float, default=2.0)
    parser.add_argument("--walkers", type=int, default=6)
    return parser.parse_args()


if __name__ == "__main__":
    main()
