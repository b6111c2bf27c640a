"""BVH files are read by a strict reader, which rebuilds the joints."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sinks.bvh import BVH
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, opened
from stream.rig import HUMANOID
from tests.rig_examples import dance, joints, pose_frames

NAMES = {
    "Spine2": "Chest", "LeftArm": "LeftUpperArm", "LeftForeArm": "LeftLowerArm", "LeftUpLeg": "LeftUpperLeg",
    "LeftLeg": "LeftLowerLeg", "RightArm": "RightUpperArm", "RightForeArm": "RightLowerArm",
    "RightUpLeg": "RightUpperLeg", "RightLeg": "RightLowerLeg",
}  # fmt: skip


def recorded(path: Path, *frames: PoseFrame, close: bool = True, **settings) -> Path:
    sink = BVH(BVH.Settings(path=str(path), **settings), ComponentContext("bvh"))
    sink.open()
    for frame in frames:
        sink.send(frame)
    if close:
        sink.close()
    return path


class Reader:
    """A strict reader: one space between values, nothing but what the format has."""

    def __init__(self, path: Path) -> None:
        text = path.read_text()
        assert text.endswith("\n")
        assert "\t" not in text
        assert "\n\n" not in text
        head, motion = text.split("MOTION\n")
        self.names, self.parents, self.offsets, stack = [], [], [], []
        for line in head.splitlines():
            words = line.strip().split(" ")
            if words[0] in ("ROOT", "JOINT"):
                self.parents.append(stack[-1] if stack else -1)
                self.names.append(words[1])
                stack.append(len(self.names) - 1)
            elif words[0] == "End":
                stack.append(-2)
            elif words[0] == "OFFSET" and stack[-1] != -2:
                self.offsets.append([float(word) for word in words[1:]])
            elif words[0] == "CHANNELS":
                assert words[-3:] == ["Zrotation", "Yrotation", "Xrotation"]
            elif words[0] == "}":
                stack.pop()
        lines = motion.splitlines()
        assert [line.split(":")[0] for line in lines[:2]] == ["Frames", "Frame Time"]
        self.frames, self.step_s = int(lines[0][8:]), float(lines[1][12:])
        self.rows = np.array([[float(word) for word in line.split(" ")] for line in lines[2:]])

    def heads(self, row: int) -> dict[str, np.ndarray]:
        """Joint positions in metres."""
        world, heads = [], []
        for n, parent in enumerate(self.parents):
            turn = Rotation.from_euler("ZYX", self.rows[row, 3 + 3 * n : 6 + 3 * n], degrees=True)
            if parent < 0:
                heads.append(self.rows[row, :3] / 100)
                world.append(turn)
            else:
                heads.append(heads[parent] + world[parent].apply(self.offsets[n]) / 100)
                world.append(world[parent] * turn)
        return {NAMES.get(name, name): head for name, head in zip(self.names, heads, strict=True)}


@pytest.mark.parametrize("bones", ["tpose", "lafan1"])
def test_a_reader_rebuilds_the_joints(tmp_path: Path, bones: str):
    frames = dance(1)
    reader = Reader(recorded(tmp_path / "x.bvh", *pose_frames(frames), bones=bones))
    assert (reader.frames, len(reader.rows), reader.step_s) == (50, 50, 0.02)
    for row in (0, 17, 49):
        heads = reader.heads(row)
        wanted = frames[row] * (1, -1, -1)
        for name, joint in zip(HUMANOID.bones, HUMANOID.heads, strict=True):
            np.testing.assert_allclose(heads[name] - heads["Hips"], wanted[joint], atol=2e-4)


def test_the_rest_pose_is_a_t_pose_with_the_left_hand_at_positive_x(tmp_path: Path):
    reader = Reader(recorded(tmp_path / "x.bvh", *pose_frames([joints()])))
    np.testing.assert_allclose(reader.rows[0, 3:], 0, atol=1e-3)
    heads = reader.heads(0)
    assert heads["LeftHand"][0] > 0.5
    assert heads["LeftFoot"][1] == pytest.approx(0, abs=1e-3)


def test_frames_are_counted_after_a_kill(tmp_path: Path):
    frames = pose_frames(dance(2.5))
    reader = Reader(recorded(tmp_path / "x.bvh", *frames, close=False))  # never closed
    assert len(reader.rows) == 125
    assert reader.frames >= 100
    np.testing.assert_allclose(np.linalg.norm(reader.offsets[reader.names.index("LeftLeg")]), 43, atol=0.01)


def test_every_stay_of_a_person_is_a_file(tmp_path: Path):
    first, second = pose_frames([joints()] * 3, "a", lost_after=True), pose_frames([joints()] * 2, "../b")
    recorded(tmp_path / "x.bvh", *first, *second, *pose_frames([joints()] * 2, "../b", lost_after=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-___b.bvh", "x.bvh"]
    recorded(tmp_path / "{id}.bvh", *first, *first)
    assert {"a.bvh", "a-2.bvh"} <= {path.name for path in tmp_path.iterdir()}


def test_poses_of_another_rate_are_interpolated(tmp_path: Path):
    reader = Reader(recorded(tmp_path / "x.bvh", *pose_frames(dance(1)), fps=120.0))
    assert reader.frames == 118
    assert reader.step_s == pytest.approx(1 / 120)


def test_the_sink_opens_and_closes_without_a_person(tmp_path: Path):
    with opened(BVH(BVH.Settings(path=str(tmp_path / "x.bvh")), ComponentContext("bvh"))):
        pass
    assert list(tmp_path.iterdir()) == []
