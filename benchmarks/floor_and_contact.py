"""Accuracy of the floor and of foot contacts.

    python benchmarks/floor_and_contact.py [--weights small] [--walkers 6] [--data motion.npz] [--every 7]

Floor: walkers on circles of 0.6 to 2 m before cameras 0.8 to 2.8 m high, tilted, some rolled, keypoints off
by 2.5 px; once with their true poses, once lifted. tilt: angle between the estimated and the true up vector;
height: error of the camera's height; sd: as published. People have various heights; all are taken as average.

Feet: clips of motion capture with toes and a floor at z = 0 (arrays root, rel, start, length, fps, joints),
each rendered by a still camera, with the detector errors that lifters are trained with. A foot truly rests
when its ankle or toes are within 6 cm of their resting height in that clip and slower than 0.4 m/s. Clips of
lying people are skipped, and those of UI-PRMD, whose heights drift. air: share of the feet in the air that
have no contact. Prints tables, then one JSON line.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lifter
from lifter.data.mocap import read_mocap
from lifter.machine import machine
from lifter.synthesis.detector_noise import simulate_detector
from lifter.synthesis.virtual_camera import View
from sources.walking_figure import VirtualCamera, Walk, figure
from stream.cameras.extrinsics import CameraPose
from stream.cameras.intrinsics import Camera
from stream.messages import Header, JointOrigin, Pose, PoseFrame
from stream.postprocess.batch import PoseBatch
from stream.protocols import ComponentContext
from stream.rotations import F64, axis_rotation
from stream.scene.root_position import RootPosition
from stream.scene.world_frame import CameraPlacements, WorldFrame
from stream.windows.ring import Ring

SIZE_WH = (1280, 720)
HOP = 4  # frames between lifts, as on a busy machine
ANKLES, TOES = ("LAnkle", "RAnkle"), ("LToe", "RToe")
SKIPPED_ACTIONS = ("lie", "Lie", "cartwheel")


class Scene:
    """A person before a camera: joints (F, 17, 3) in the world and in camera axes, keypoints (F, 17, 3)."""

    def __init__(self, camera: VirtualCamera, roll_rad: float, world: F64, hz: float) -> None:
        self.camera, self.hz = camera, hz
        self.rotation = axis_rotation(2, -roll_rad) @ camera.rotation  # rows: right, down, forward
        self.truth = (world - np.array(camera.position_m)) @ self.rotation.T
        self.keypoints = np.zeros((len(world), 17, 3), np.float32)

    def poses(self, lifted: NDArray[Any] | None) -> Iterator[PoseFrame]:
        """Frames with lifted poses, or with the true ones for None."""
        for frame, keypoints in enumerate(self.keypoints):
            score = np.clip(keypoints[:, 2], 0, 1)
            xyz = self.truth[frame, :17] - self.truth[frame, 0] if lifted is None else lifted[frame]
            origin = np.where(score > 0, JointOrigin.OBSERVED, JointOrigin.PREDICTED).astype(np.uint8)
            pose = Pose("a", "ok" if frame else "new", xyz.astype(np.float32), score, origin, kp2d=keypoints)
            at_ns = round(frame / self.hz * 1e9)
            yield PoseFrame(Header("cam0", frame, at_ns, at_ns), (pose,), frame_id="cam0_optical_frame")

    def processed(
        self, lifted: NDArray[Any] | None, settings: WorldFrame.Settings, times_s: dict[str, list[float]]
    ) -> tuple[list[PoseFrame], CameraPlacements]:
        """The frames after root position and world frame; appends the times of both steps to times_s."""
        focal, (width, height) = self.camera.focal_px, SIZE_WH
        intrinsics = Camera.Settings(size_wh=SIZE_WH, fx=focal, fy=focal, cx=width / 2, cy=height / 2)
        placements = CameraPlacements(settings.camera_pose)
        steps = {
            "root_position": RootPosition(RootPosition.Settings(cameras={"cam0": intrinsics})),
            "world_frame": WorldFrame(settings, True, ComponentContext("lift"), placements),
        }
        frames = []
        for frame in self.poses(lifted):
            batch = PoseBatch.from_poses(frame.skeleton, frame.header, SIZE_WH, frame.persons, frame.frame_id)
            for name, step in steps.items():
                started = time.perf_counter()
                step.apply(batch)
                times_s.setdefault(name, []).append(time.perf_counter() - started)
            frames.append(replace(frame, persons=(batch.pose(0),), frame_id=batch.frames[0].frame_id))
        return frames, placements


def lift(runner: Any, scene: Scene) -> NDArray[np.float32]:
    """Poses (F, 17, 3) metres, HOP frames from each window."""
    ring, windows, ends = Ring(runner.spec.frames + 2, 17), [], []
    for frame, keypoints in enumerate(scene.keypoints):
        visible = keypoints[:, 2] > 0
        xy = np.where(visible[:, None], keypoints[:, :2], np.nan)
        ring.push(xy, keypoints[:, 2], round(frame / scene.hz * 1e9))
        if frame % HOP == HOP - 1 or frame == len(scene.keypoints) - 1:
            windows.append(ring.window(runner.spec.frames, SIZE_WH))
            ends.append(frame + 1)
    passes = [poses for at in range(0, len(windows), 16) for poses in runner.lift(windows[at : at + 16])]
    counts = np.diff(ends, prepend=0)
    return np.concatenate([poses[-count:] for poses, count in zip(passes, counts, strict=True)])


def walkers(arguments: argparse.Namespace) -> Iterator[Scene]:
    for number in range(arguments.walkers):
        random = np.random.default_rng(1000 * arguments.seed + number)
        walk = Walk(
            height_m=random.uniform(1.55, 1.9),
            speed_m_s=random.uniform(0.8, 1.4),
            radius_m=(1.0, 1.5, 2.0, 0.6)[number % 4],
            start_rad=random.uniform(0, 2 * np.pi),
        )
        roll_rad = (0.0, 0.0, 0.1, -0.2, 0.3)[number % 5]
        distance_m, azimuth = random.uniform(4, 5) + walk.radius_m, random.uniform(0, 2 * np.pi)
        camera = _camera(random, distance_m, azimuth, (0.0, 0.0, random.uniform(0.6, 1.0)))
        scene = Scene(camera, roll_rad, np.stack([figure(frame / 25, walk) for frame in range(400)]), 25.0)
        pixels = camera.project(scene.truth) + random.normal(0, 2.5, (400, 17, 2))
        inside = ((pixels >= 0) & (pixels < SIZE_WH)).all(axis=2)
        scene.keypoints = np.concatenate([pixels, inside[..., None]], axis=2).astype(np.float32)
        yield scene


def _camera(
    random: np.random.Generator, distance_m: float, azimuth: float, target_m: tuple[float, float, float]
) -> VirtualCamera:
    """A random camera that looks at target_m."""
    focal_px = SIZE_WH[0] / 2 / math.tan(math.radians(random.uniform(50, 75)) / 2)
    x, y = target_m[0] + distance_m * math.cos(azimuth), target_m[1] + distance_m * math.sin(azimuth)
    return VirtualCamera(SIZE_WH, focal_px, (x, y, random.uniform(0.8, 2.8)), target_m)


def clips(arguments: argparse.Namespace) -> Iterator[tuple[Scene, NDArray[np.bool_]]]:
    """Scene and true contacts (F, 2), left foot first, of every n-th clip."""
    motion = read_mocap(Path(arguments.data))  # adds the face that the detector model needs
    with np.load(arguments.data, allow_pickle=False) as file:
        data = {name: file[name] for name in file}
    names, hz = data["joints"].tolist(), float(data["fps"])
    suitable = [
        clip
        for clip, (length, action) in enumerate(zip(data["length"], data["action"], strict=True))
        if length >= 2 * hz
        and data["source"][clip] != "uiprmd"
        and not any(word in action for word in SKIPPED_ACTIONS)
    ]
    for clip in suitable[arguments.seed % arguments.every :: arguments.every]:
        start, length = int(data["start"][clip]), min(int(data["length"][clip]), round(6 * hz))
        rows, random = slice(start, start + length), np.random.default_rng(clip)
        world = (data["root"][rows, None] + data["rel"][rows] / 1e4).astype(np.float64)
        middle = world[:, 0].mean(axis=0)
        distance_m = random.uniform(3.5, 5.5) + np.ptp(world[:, 0, :2], axis=0).max() / 2
        target_m = (float(middle[0]), float(middle[1]), random.uniform(0.7, 1.0))
        camera = _camera(random, distance_m, random.uniform(0, 2 * np.pi), target_m)
        scene = Scene(camera, 0.0, world[:, :17], hz)
        first = int(motion.start[clip])
        xyz = torch.tensor(camera.view(motion.xyz[first : first + length].numpy()), dtype=torch.float32)
        one = torch.ones(1)
        view = View(xyz[None], one * camera.focal_px, torch.tensor([SIZE_WH], dtype=torch.float32), 0 * one)
        scene.keypoints = simulate_detector(view, torch.Generator().manual_seed(clip))[0].numpy()
        yield scene, _resting(world, names, hz)


def _resting(world: F64, names: list[str], hz: float) -> NDArray[np.bool_]:
    """Which foot truly rests, (F, 2), from joints (F, J, 3) in the world."""
    half, resting = round(0.04 * hz), np.zeros((len(world), 2), bool)
    for pair in (ANKLES, TOES):
        points = world[:, [names.index(name) for name in pair]]  # (F, 2, 3)
        speed = np.full(points.shape[:2], np.inf)
        distance = np.linalg.norm(points[2 * half :] - points[: -2 * half], axis=2)
        speed[half:-half] = distance / (2 * half / hz)
        rest_m = np.percentile(points[..., 2], 5, axis=0)
        rest_m = np.where(rest_m - rest_m.min() < 0.06, rest_m, rest_m.min())
        resting |= (points[..., 2] - rest_m < 0.06) & (speed < 0.4)
    return resting


def floors(arguments: argparse.Namespace, runner: Any, times_s: dict[str, list[float]]) -> list[dict]:
    print(f"\n{'floor':<16}{'tilt deg':>10}{'sd':>8}{'height %':>10}{'sd %':>8}{'after s':>9}")
    rows = []
    for number, scene in enumerate(walkers(arguments)):
        for name, lifted in (("true", None), ("lifted", lift(runner, scene))):
            frames, placements = scene.processed(lifted, WorldFrame.Settings(floor="auto"), times_s)
            placement, height_m = placements.get("cam0"), scene.camera.position_m[2]
            row: dict[str, Any] = {"walker": number, "poses": name}
            if placement is not None:
                cos = float(placement.matrix()[2] @ scene.rotation[:, 2])
                first = next(n for n, frame in enumerate(frames) if frame.frame_id == placement.frame_id)
                row |= {"tilt_deg": round(math.degrees(math.acos(min(1.0, cos))), 2)}
                row |= {"tilt_sd_deg": round(placement.tilt_sd_deg, 2)}
                row |= {"height_percent": round(100 * (placement.pos[2] / height_m - 1), 1)}
                row |= {"height_sd_percent": round(100 * placement.height_sd_m / height_m, 1)}
                row |= {"after_s": round(first / scene.hz, 1)}
            print(f"{number} {name:<14}" + "".join(f"{value:>9}" for value in list(row.values())[2:]))
            rows.append(row)
    return rows


def feet(arguments: argparse.Namespace, runner: Any, times_s: dict[str, list[float]]) -> list[dict]:
    print(f"\n{'feet':<24}{'precision':>10}{'recall':>8}{'air':>10}{'unknown %':>11}")
    counts: dict[str, NDArray[np.int64]] = {}
    for scene, resting in clips(arguments):
        pose = CameraPose(position_m=scene.camera.position_m, looks_at_m=scene.camera.looks_at_m)
        with_pose = WorldFrame.Settings(camera_pose={"cam0": pose})
        for name, lifted in (("true", None), ("lifted", lift(runner, scene))):
            for floor, settings in (("floor known", with_pose), ("no floor", WorldFrame.Settings())):
                frames, _ = scene.processed(lifted, settings, times_s)
                contacts = np.array([_contacts(frame.persons[0]) for frame in frames])
                yes, no = contacts == 1, contacts == 0
                pairs = ((yes, resting), (yes, ~resting), (no, resting), (no, ~resting))
                of_scene = [*(int((a & b).sum()) for a, b in pairs), int((contacts < 0).sum())]
                key = f"{name}, {floor}"
                counts[key] = counts.get(key, np.zeros(5, np.int64)) + np.array(of_scene)
    rows = []
    for key, (hit, false, missed, air, unknown) in counts.items():
        row = {"precision": hit / (hit + false), "recall": hit / (hit + missed), "air": air / (air + false)}
        row = {name: round(float(value), 3) for name, value in row.items()}
        row["unknown_percent"] = round(100 * unknown / (hit + false + missed + air + unknown), 1)
        print(f"{key:<24}" + "".join(f"{value:>10}" for value in row.values()))
        rows.append({"poses": key, "feet": int(hit + false + missed + air), **row})
    return rows


def _contacts(pose: Pose) -> list[int]:
    """Of the left and the right foot: 1 for contact, 0 for none, -1 for unknown."""
    feet = (pose.contact.left, pose.contact.right) if pose.contact else (None, None)
    return [-1 if foot is None else int(foot) for foot in feet]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--walkers", type=int, default=6)
    parser.add_argument("--data", help="motion capture; without it feet are not measured")
    parser.add_argument("--every", type=int, default=7, help="use every n-th clip")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    hardware = machine().text()
    print(hardware)
    runner = lifter.load(arguments.weights, device="cpu", threads=1)
    times_s: dict[str, list[float]] = {}
    result: dict[str, Any] = {
        "benchmark": "floor_and_contact",
        "machine": hardware,
        "weights": arguments.weights,
    }
    result["floor"] = floors(arguments, runner, times_s)
    if arguments.data:
        result["feet"] = feet(arguments, runner, times_s)
    result["us_per_person"] = {name: round(1e6 * float(np.median(t)), 1) for name, t in times_s.items()}
    print(f"\nmicroseconds per frame of one person: {result['us_per_person']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
