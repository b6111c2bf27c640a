"""How well the floor is found, and which feet are said to rest on it.

    python benchmarks/ground.py [--weights small] [--walkers 6] [--data motion.npz] [--every 7] [--seed 0]

Floor: walkers on circles of 0.6 to 2 m before cameras 0.8 to 2.8 m high, tilted, some rolled, keypoints off
by 2.5 px; once with their true poses, once lifted. tilt: between up as found and as it is; height: of the
camera, its error against the truth; sd: as published. People have various heights; all are thought average.

Feet: clips of motion capture with toes and a floor at z = 0 (arrays root, rel, start, length, fps, joints),
filmed by a still camera each and seen by the detector's model that lifters are trained with. A foot rests in
truth when its ankle or toes are within 6 cm of where they rest in that clip and slower than 0.4 m/s. Lying
and falling are left out. UI-PRMD's heights wander and say nothing. air told: of feet that do not rest, how
many are told so. Prints tables, then one JSON line.
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
from stream.cameras.intrinsics import CameraSettings
from stream.messages import Header, JointOrigin, Pose, PoseFrame
from stream.postprocess.batch import PoseBatch
from stream.protocols import ComponentContext
from stream.scene.root_position import RootPosition
from stream.scene.world_frame import CameraPlacements, WorldFrame, WorldSettings
from stream.windows.ring import Ring

F64 = NDArray[np.float64]
SIZE_WH = (1280, 720)
HOP = 4  # frames between lifts: a live system with something to do
ANKLES, TOES = ("LAnkle", "RAnkle"), ("LToe", "RToe")
LEFT_OUT = ("lie", "Lie", "cartwheel")


class Scene:
    """Someone before a camera: joints (F, 17, 3) in the world and in camera axes, keypoints (F, 17, 3)."""

    def __init__(self, lens: VirtualCamera, roll_rad: float, world: F64, hz: float) -> None:
        cos, sin = math.cos(roll_rad), math.sin(roll_rad)
        self.lens, self.hz, self.world, self.roll_rad = lens, hz, world, roll_rad
        self.matrix = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) @ lens.rotation
        self.truth = (world - np.array(lens.position_m)) @ self.matrix.T
        self.keypoints = np.zeros((len(world), 17, 3), np.float32)

    def poses(self, lifted: NDArray[Any] | None) -> Iterator[PoseFrame]:
        """What comes out of the lifter, true or lifted."""
        for frame, keypoints in enumerate(self.keypoints):
            score = np.clip(keypoints[:, 2], 0, 1)
            xyz = self.truth[frame, :17] - self.truth[frame, 0] if lifted is None else lifted[frame]
            origin = np.where(score > 0, JointOrigin.OBSERVED, JointOrigin.PREDICTED).astype(np.uint8)
            pose = Pose("a", "ok" if frame else "new", xyz.astype(np.float32), score, origin, kp2d=keypoints)
            at_ns = round(frame / self.hz * 1e9)
            yield PoseFrame(Header("cam0", frame, at_ns, at_ns), (pose,), frame_id="cam0_optical_frame")

    def finished(
        self, lifted: NDArray[Any] | None, world: WorldSettings, took: dict
    ) -> tuple[list, CameraPlacements]:
        """The frames after the steps that place people."""
        focal, (width, height) = self.lens.focal_px, SIZE_WH
        known = CameraSettings(size_wh=SIZE_WH, fx=focal, fy=focal, cx=width / 2, cy=height / 2)
        worlds = CameraPlacements(world, lambda *_: None)
        steps = {
            "space": RootPosition(RootPosition.Settings(cameras={"cam0": known})),
            "world": WorldFrame(world, True, ComponentContext("lift"), worlds),
        }
        frames = []
        for frame in self.poses(lifted):
            batch = PoseBatch.of(frame.skeleton, frame.header, SIZE_WH, frame.persons, frame.frame_id)
            for name, step in steps.items():
                started = time.perf_counter()
                step.apply(batch)
                took.setdefault(name, []).append(time.perf_counter() - started)
            frames.append(replace(frame, persons=(batch.pose(0),), frame_id=batch.frames[0].frame_id))
        return frames, worlds


def lift(runner: Any, scene: Scene) -> NDArray[np.float32]:
    """(F, 17, 3) metres, HOP frames from each window."""
    ring, windows, ends = Ring(runner.spec.frames + 2, 17), [], []
    for frame, keypoints in enumerate(scene.keypoints):
        seen = keypoints[:, 2] > 0
        xy = np.where(seen[:, None], keypoints[:, :2], np.nan)
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
        away, towards = random.uniform(4, 5) + walk.radius_m, random.uniform(0, 2 * np.pi)
        lens = _lens(random, away, towards, (0.0, 0.0, random.uniform(0.6, 1.0)))
        scene = Scene(lens, roll_rad, np.stack([figure(frame / 25, walk) for frame in range(400)]), 25.0)
        pixels = lens.project(scene.truth) + random.normal(0, 2.5, (400, 17, 2))
        inside = ((pixels >= 0) & (pixels < SIZE_WH)).all(axis=2)
        scene.keypoints = np.concatenate([pixels, inside[..., None]], axis=2).astype(np.float32)
        yield scene


def _lens(random: np.random.Generator, away: float, towards: float, at: tuple) -> VirtualCamera:
    focal_px = SIZE_WH[0] / 2 / math.tan(math.radians(random.uniform(50, 75)) / 2)
    x, y = at[0] + away * math.cos(towards), at[1] + away * math.sin(towards)
    return VirtualCamera(SIZE_WH, focal_px, (x, y, random.uniform(0.8, 2.8)), at)


def clips(arguments: argparse.Namespace) -> Iterator[tuple[str, Scene, NDArray[np.bool_]]]:
    """Name, scene and truth (F, 2) of every so many clips, left foot first."""
    motion = read_mocap(Path(arguments.data))  # with the face that the detector's model looks at
    with np.load(arguments.data, allow_pickle=False) as file:
        data = {name: file[name] for name in file}
    names, hz = data["joints"].tolist(), float(data["fps"])
    wanted = [
        clip
        for clip, (length, action) in enumerate(zip(data["length"], data["action"], strict=True))
        if length >= 2 * hz and data["source"][clip] != "uiprmd" and not any(w in action for w in LEFT_OUT)
    ]
    for clip in wanted[arguments.seed % arguments.every :: arguments.every]:
        start, length = int(data["start"][clip]), min(int(data["length"][clip]), round(6 * hz))
        rows, random = slice(start, start + length), np.random.default_rng(clip)
        world = (data["root"][rows, None] + data["rel"][rows] / 1e4).astype(np.float64)
        middle = world[:, 0].mean(axis=0)
        away = random.uniform(3.5, 5.5) + np.ptp(world[:, 0, :2], axis=0).max() / 2
        at = (float(middle[0]), float(middle[1]), random.uniform(0.7, 1.0))
        lens = _lens(random, away, random.uniform(0, 2 * np.pi), at)
        scene = Scene(lens, 0.0, world[:, :17], hz)
        first = int(motion.start[clip])
        seen = torch.tensor(lens.view(motion.xyz[first : first + length].numpy()), dtype=torch.float32)
        one = torch.ones(1)
        view = View(seen[None], one * lens.focal_px, torch.tensor([SIZE_WH], dtype=torch.float32), 0 * one)
        scene.keypoints = simulate_detector(view, torch.Generator().manual_seed(clip))[0].numpy()
        yield str(data["action"][clip]), scene, _resting(world, names, hz)


def _resting(world: F64, names: list[str], hz: float) -> NDArray[np.bool_]:
    """Which foot rests in truth, (F, 2)."""
    half, resting = round(0.04 * hz), np.zeros((len(world), 2), bool)
    for pair in (ANKLES, TOES):
        places = world[:, [names.index(name) for name in pair]]  # (F, 2, 3)
        speed = np.full(places.shape[:2], np.inf)
        way = np.linalg.norm(places[2 * half :] - places[: -2 * half], axis=2)
        speed[half:-half] = way / (2 * half / hz)
        rest = np.percentile(places[..., 2], 5, axis=0)
        rest = np.where(rest - rest.min() < 0.06, rest, rest.min())
        resting |= (places[..., 2] - rest < 0.06) & (speed < 0.4)
    return resting


def floors(arguments: argparse.Namespace, runner: Any, took: dict) -> list[dict]:
    print(f"\n{'floor':<16}{'tilt deg':>10}{'sd':>8}{'height %':>10}{'sd %':>8}{'after s':>9}")
    rows = []
    for number, scene in enumerate(walkers(arguments)):
        for name, lifted in (("true", None), ("lifted", lift(runner, scene))):
            frames, worlds = scene.finished(lifted, WorldSettings(floor="auto"), took)
            place, height = worlds.of("cam0"), scene.lens.position_m[2]
            row: dict[str, Any] = {"walker": number, "poses": name}
            if place is not None:
                cos = float(place.matrix()[2] @ scene.matrix[:, 2])
                first = next(n for n, each in enumerate(frames) if each.frame_id == place.frame_id)
                row |= {"tilt_deg": round(math.degrees(math.acos(min(1.0, cos))), 2)}
                row |= {"tilt_sd_deg": round(place.tilt_sd_deg, 2)}
                row |= {"height_percent": round(100 * (place.pos[2] / height - 1), 1)}
                row |= {"height_sd_percent": round(100 * place.height_sd_m / height, 1)}
                row |= {"after_s": round(first / scene.hz, 1)}
            print(f"{number} {name:<14}" + "".join(f"{value:>9}" for value in list(row.values())[2:]))
            rows.append(row)
    return rows


def feet(arguments: argparse.Namespace, runner: Any, took: dict) -> list[dict]:
    print(f"\n{'feet':<24}{'precision':>10}{'recall':>8}{'air told':>10}{'unknown %':>11}")
    counts: dict[str, NDArray[np.int64]] = {}
    for _, scene, resting in clips(arguments):
        pose = CameraPose(position_m=scene.lens.position_m, looks_at_m=scene.lens.looks_at_m)
        given = WorldSettings(camera_pose={"cam0": pose})
        for name, lifted in (("true", None), ("lifted", lift(runner, scene))):
            for floor, world in (("floor known", given), ("no floor", WorldSettings())):
                frames, _ = scene.finished(lifted, world, took)
                told = np.array([_told(frame.persons[0]) for frame in frames])
                known = told >= 0
                yes, no = (told == 1) & known, (told == 0) & known
                pairs = ((yes, resting), (yes, ~resting), (no, resting), (no, ~resting))
                found = [*(int((a & b).sum()) for a, b in pairs), int((~known).sum())]
                key = f"{name}, {floor}"
                counts[key] = counts.get(key, np.zeros(5, np.int64)) + np.array(found)
    rows = []
    for key, (hit, false, missed, air, unknown) in counts.items():
        row = {"precision": hit / (hit + false), "recall": hit / (hit + missed), "air": air / (air + false)}
        row = {name: round(float(value), 3) for name, value in row.items()}
        row["unknown_percent"] = round(100 * unknown / (hit + false + missed + air + unknown), 1)
        print(f"{key:<24}" + "".join(f"{value:>10}" for value in row.values()))
        rows.append({"poses": key, "feet": int(hit + false + missed + air), **row})
    return rows


def _told(pose: Pose) -> list[int]:
    known = (pose.contact.left, pose.contact.right) if pose.contact else (None, None)
    return [-1 if foot is None else int(foot) for foot in known]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--walkers", type=int, default=6)
    parser.add_argument("--data", help="motion capture; without it feet are left out")
    parser.add_argument("--every", type=int, default=7, help="take each so-many-th clip")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    here = machine().text()
    print(here)
    runner, took = lifter.load(arguments.weights, device="cpu", threads=1), {}
    result: dict[str, Any] = {"benchmark": "ground", "machine": here, "weights": arguments.weights}
    result["floor"] = floors(arguments, runner, took)
    if arguments.data:
        result["feet"] = feet(arguments, runner, took)
    result["us_per_person"] = {name: round(1e6 * float(np.median(each)), 1) for name, each in took.items()}
    print(f"\nmicroseconds per frame of one person: {result['us_per_person']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
