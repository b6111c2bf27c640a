"""Lifters are opened with a schedule, and windows are cut from recordings."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.samples import open_lifter, recording_as_window
from lifter.spec import LifterSpec, Schedule
from stream.errors import CheckpointError, ConfigError
from stream.files import keypoints as keypoint_files
from stream.messages import Header, KeypointFrame, Keypoints

STAGES = Schedule((13, 9), (0, 1))
NAN = float("nan")


def test_an_architecture_has_the_schedule_of_the_paper_and_the_same_random_weights_every_time():
    state = torch.random.get_rng_state()
    first, second = open_lifter("motionagformer"), open_lifter("motionagformer", Schedule((81,), (3,)))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.spec.schedule == Schedule((121, 81), (0, 7))
    assert second.spec.schedule == Schedule((81,), (3,))
    assert first.spec.name == "motionagformer, random weights"
    assert torch.equal(first.model.joints_embed.weight, second.model.joints_embed.weight)


def test_weights_take_another_schedule_if_it_needs_no_other_parameters(tmp_path):
    spec = LifterSpec(name="tiny", frames=27, schedule=STAGES, config={"width": 16, "depth": 2, "heads": 2})
    weights.save(tmp_path / "tiny.safetensors", weights.build(spec), spec)
    assert open_lifter(tmp_path / "tiny.safetensors").spec.schedule == STAGES
    assert open_lifter(tmp_path / "tiny.safetensors", Schedule((5,), (1,))).spec.schedule == Schedule(
        (5,), (1,)
    )
    with pytest.raises(CheckpointError, match=r"tiny with another schedule: .* is missing"):
        open_lifter(tmp_path / "tiny.safetensors", Schedule((5,), (1,), "tpc", "tra"))


def frame(seq, *persons, source="cam0"):
    """persons: (id, x of all joints); NaN for a person without joints."""
    people = tuple(
        Keypoints(np.full((17, 2), x, np.float32), np.ones(17, np.float32), id) for id, x in persons
    )
    time_ns = seq * 20_000_000
    return KeypointFrame(Header(source, seq, time_ns, time_ns), (640, 480), "h36m17", people, time_ns)


def write_recording(path, *frames):
    keypoint_files.write(path, frames)
    return path


def test_a_recording_gives_the_person_in_most_frames_with_gaps_filled(tmp_path):
    path = write_recording(
        tmp_path / "two.npz",
        frame(0, ("anna", 10.0), ("ben", 200.0)),
        frame(1, ("ben", 210.0)),
        frame(2, ("anna", 30.0)),
        frame(3, ("anna", 40.0), ("ben", NAN)),
    )
    window = recording_as_window(path, "h36m17")
    assert window.keypoints[:, 0].tolist() == [[10, 10, 1], [20, 20, 0], [30, 30, 1], [40, 40, 1]]
    assert (window.captured_ns.tolist(), window.size_wh) == (
        [0, 20_000_000, 40_000_000, 60_000_000],
        (640, 480),
    )


def test_a_recording_of_several_cameras_gives_the_first(tmp_path):
    path = write_recording(
        tmp_path / "two.jsonl",
        frame(0, (None, 10.0)),
        frame(0, (None, 90.0), source="cam1"),
        frame(1, (None, 20.0)),
    )
    assert recording_as_window(path, "h36m17").keypoints[:, 0, 0].tolist() == [10, 20]


def test_a_recording_without_people_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected at least one person in the recording, found none"):
        recording_as_window(write_recording(tmp_path / "empty.jsonl", frame(0), frame(1)), "h36m17")
    with pytest.raises(ConfigError, match="found none"):
        recording_as_window(write_recording(tmp_path / "nan.jsonl", frame(0, ("anna", NAN))), "h36m17")


def test_several_persons_without_ids_are_refused(tmp_path):
    path = write_recording(tmp_path / "two.npz", frame(7, (None, 10.0), (None, 20.0)))
    with pytest.raises(ConfigError, match="frame 0 has 2 persons without distinct ids"):
        recording_as_window(path, "h36m17")
