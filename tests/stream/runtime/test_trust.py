"""Published states, origins and scores of people who are detected badly, partly, or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest

from stream.config.load import resolve
from stream.messages import JointOrigin, Pose, PoseFrame
from stream.runtime.pipeline import Pipeline
from stream.wire import codec as wire

FPS = 25
LEGS = (2, 3, 5, 6)  # knees and ankles of h36m17
BODY = np.random.default_rng(5).uniform((500, 100), (700, 400), (17, 2))


def swaying_person(frames: int) -> np.ndarray:
    """Keypoints (F, 17, 3) px and score of a swaying person, all detected."""
    sway = 10 * np.sin(np.arange(frames) / 8)[:, None, None]
    return np.concatenate([BODY + sway, np.full((frames, 17, 1), 0.9)], axis=2).astype(np.float32)


def lift(tiny_weights: Path, tmp_path: Path, keypoints: np.ndarray, **lifter) -> list[PoseFrame]:
    np.save(tmp_path / "keypoints.npy", keypoints)
    source = {
        "type": "recording",
        "path": str(tmp_path / "keypoints.npy"),
        "speed": "full",
        "skeleton": "h36m17",
    }
    pipeline = Pipeline(
        resolve(
            {
                "sources": {"cam0": source | {"fps": FPS, "size_wh": (1280, 720)}},
                "lifter": {"weights": str(tiny_weights), "device": "cpu", "threads": 1, **lifter},
                "sinks": {"out": {"type": "memory"}},
            }
        )
    )
    with pipeline:
        assert pipeline.wait(60.0)
    assert pipeline.error is None
    messages = pipeline.sink_threads["out"].sink.messages
    return [message for message in messages if isinstance(message, PoseFrame)]


def single_person(frames: list[PoseFrame]) -> list[Pose]:
    """The pose of every frame, which all have one person."""
    assert {len(frame.persons) for frame in frames} == {1}
    return [frame.persons[0] for frame in frames]


def test_a_joint_missing_for_a_while_has_a_position_marked_interpolated(tiny_weights, tmp_path):
    keypoints = swaying_person(40)
    keypoints[15:20, 16] = np.nan
    poses = single_person(lift(tiny_weights, tmp_path, keypoints, lag=10))
    for frame, pose in enumerate(poses):
        missing = 15 <= frame < 20
        assert pose.state == ("new" if frame == 0 else "ok")
        assert np.isfinite(pose.xyz).all()
        assert pose.origin[16] == (JointOrigin.INTERPOLATED if missing else JointOrigin.OBSERVED)
        assert pose.score[16] == (0 if missing else np.float32(0.9))
        assert (pose.origin[:16] == JointOrigin.OBSERVED).all()


def test_without_look_ahead_a_missing_joint_is_predicted(tiny_weights, tmp_path):
    keypoints = swaying_person(20)
    keypoints[15:, 16] = np.nan
    poses = single_person(lift(tiny_weights, tmp_path, keypoints, hop=1))
    assert [pose.origin[16] for pose in poses] == [JointOrigin.OBSERVED] * 15 + [JointOrigin.PREDICTED] * 5


def test_a_joint_below_min_score_is_published_as_missing(tiny_weights, tmp_path):
    keypoints = swaying_person(30)
    keypoints[10:12, 3, 2] = 0.04
    poses = single_person(lift(tiny_weights, tmp_path, keypoints, lag=10, min_score=0.05))
    assert [pose.score[3] for pose in poses[9:13]] == [np.float32(0.9), 0, 0, np.float32(0.9)]
    assert [pose.origin[3] for pose in poses[9:13]] == [1, 2, 2, 1]


def test_joints_out_of_the_frame_are_predicted_not_absent(tiny_weights, tmp_path):
    keypoints = swaying_person(30)
    keypoints[:, LEGS] = np.nan
    for pose in single_person(lift(tiny_weights, tmp_path, keypoints)):
        assert pose.state in ("new", "ok")
        assert np.isfinite(pose.xyz).all()
        assert {int(pose.origin[joint]) for joint in LEGS} == {JointOrigin.PREDICTED}
        assert {float(pose.score[joint]) for joint in LEGS} == {0.0}
        assert (np.delete(pose.origin, LEGS) == JointOrigin.OBSERVED).all()


def test_one_frame_without_detection_is_interpolated_and_marked(tiny_weights, tmp_path):
    keypoints = swaying_person(30)
    keypoints[15] = np.nan
    poses = single_person(lift(tiny_weights, tmp_path, keypoints, lag=10))
    assert [pose.state for pose in poses[14:17]] == ["ok", "predicted", "ok"]
    assert poses[15].origin.tolist() == [JointOrigin.INTERPOLATED] * 17
    assert poses[15].score.tolist() == [0.0] * 17
    assert np.isfinite(poses[15].xyz).all()
    assert len({pose.id for pose in poses}) == 1


@pytest.mark.parametrize("output", ["captured", "grid"])
def test_a_person_missing_for_ten_seconds_is_predicted_then_lost_once_then_absent(
    tiny_weights, tmp_path, output
):
    keypoints = swaying_person(20 + 10 * FPS + 20)
    keypoints[20 : 20 + 10 * FPS] = np.nan
    frames = lift(tiny_weights, tmp_path, keypoints, predict_s=0.4, output=output)
    per_frame = 2 if output == "grid" else 1  # 50 Hz
    states = [[person.state for person in frame.persons] for frame in frames]
    assert states.count(["lost"]) == 1
    lost = states.index(["lost"])
    assert {state for (state,) in states[1 : 20 * per_frame - 1]} == {"ok"}
    assert {state for (state,) in states[20 * per_frame : lost]} == {"predicted"}
    assert lost == (20 + 10) * per_frame
    back = states.index(["new"], lost)
    assert back == (20 + 10 * FPS) * per_frame
    assert states[lost + 1 : back] == [[]] * (back - lost - 1)
    assert frames[lost].persons[0].id != frames[back].persons[0].id


def test_absent_values_of_a_lost_person_are_null_on_the_wire_and_never_zero(tiny_weights, tmp_path):
    keypoints = swaying_person(60)
    keypoints[20:] = np.nan
    frames = lift(tiny_weights, tmp_path, keypoints, predict_s=0.4, kp2d=True)
    for frame in frames:
        for person in json.loads(wire.encode(frame, "json"))["persons"]:
            if person["state"] == "lost":
                assert person["xyz"] == [[None] * 3] * 17
                assert person["origin"] == [JointOrigin.ABSENT] * 17
                assert person["root"]["pos"] is None
            else:
                assert all(None not in joint for joint in person["xyz"])
    assert [frame.persons[0].state for frame in frames if frame.persons][-1] == "lost"


def test_a_file_may_begin_without_people_and_be_shorter_than_a_window(tiny_weights, tmp_path):
    keypoints = swaying_person(9)
    keypoints[:5] = np.nan
    frames = lift(tiny_weights, tmp_path, keypoints)
    assert [len(frame.persons) for frame in frames] == [0] * 5 + [1] * 4
    assert np.isfinite([frame.persons[0].xyz for frame in frames[5:]]).all()


@pytest.mark.parametrize("frames", [1, 26, 27, 28, 54])
def test_a_file_of_any_length_is_lifted(tiny_weights, tmp_path, frames):
    poses = single_person(lift(tiny_weights, tmp_path, swaying_person(frames), lag="half", resample="native"))
    assert len(poses) == frames
    assert np.isfinite([pose.xyz for pose in poses]).all()
