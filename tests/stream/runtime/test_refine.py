"""`poselift lift --refine`, from a file of keypoints to a file of poses."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lifter.evaluation.labelled_video import bone_variation
from stream.errors import ConfigError
from stream.files import poses as pose_files
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import PoseFrame
from stream.runtime.offline import config_for, lift
from stream.runtime.refine import lift_refined, mean_lifter, refine_messages


def test_a_file_is_lifted_and_refined(tiny_weights: Path, tmp_path: Path):
    plain, refined = tmp_path / "plain.npz", tmp_path / "refined.npz"
    settings = {"weights": str(tiny_weights), "device": "cpu", "threads": 1}
    steps = []

    def progress_bar(name):
        return nullcontext(lambda done, total: steps.append((name, done, total)))

    lift(config_for(PACKAGED_RECORDING, plain, settings, ()), lambda done: None)
    frames = lift_refined(PACKAGED_RECORDING, refined, settings, (), progress_bar)
    before, after = (list(pose_files.read(path)) for path in (plain, refined))
    assert frames == len(before) == len(after)
    assert [f.header.captured_unix_ns for f in before] == [f.header.captured_unix_ns for f in after]
    assert steps[-1] == ("refining", 1, 1)
    assert ("lifting", frames, frames) in steps
    assert bone_variation(_poses(after)) < 0.5 * bone_variation(_poses(before))


def _poses(frames: list[PoseFrame]) -> np.ndarray:
    return np.stack(
        [frame.persons[0].xyz for frame in frames if frame.persons and frame.persons[0].state != "lost"]
    )


def test_packaged_weights_are_lifted_with_both_models():
    config = config_for(PACKAGED_RECORDING, Path("x.npz"), {"weights": "medium", "device": "cpu"}, ())
    assert mean_lifter(config.lifter).spec.name == "medium"


def test_poses_in_a_world_are_refused(tiny_weights: Path, tmp_path: Path):
    output = tmp_path / "out.npz"
    settings = {"weights": str(tiny_weights), "device": "cpu", "threads": 1}
    lift(config_for(PACKAGED_RECORDING, output, settings, ()), lambda done: None)
    messages = list(pose_files.read_messages(output))
    world = [replace(m, frame_id="map") if isinstance(m, PoseFrame) else m for m in messages]
    with pytest.raises(ConfigError, match="expected poses in the axes of the camera, got frame 'map'"):
        refine_messages(world)
