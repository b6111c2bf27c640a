import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from stream.messages import JointOrigin, Pose
from stream.postprocess.batch import PersonState, PoseBatch, SourceState
from tests.examples import f32, plain, pose, pose_frame

SIZE_WH = (640, 480)


def batch(*poses: Pose, source: str = "cam0", size_wh: tuple[int, int] = SIZE_WH) -> PoseBatch:
    header = pose_frame(source=source).header
    return PoseBatch.from_poses("h36m17", header, size_wh, poses, "cam0_optical_frame")


class Value:
    pass


def values_of(state: PersonState[Value], *poses: Pose, **changes) -> dict[int, Value]:
    """The values by row after a frame with these people."""
    here = batch(*poses, **changes)
    return dict(state.get(here, here.frames[0]))


def test_each_source_has_its_own_value_and_a_change_of_resolution_makes_a_new_one():
    made = []
    values = SourceState(lambda source, size_wh: made.append((source, size_wh)) or len(made))
    hd = (1280, 720)
    frames = [batch(source=s, size_wh=wh).frames[0] for s, wh in [("a", hd), ("b", hd), ("a", SIZE_WH)]]
    assert [values.get(frames[n]) for n in (0, 0, 1, 2, 2, 1, 0)] == [1, 1, 2, 3, 3, 2, 4]
    assert made == [("a", hd), ("b", hd), ("a", SIZE_WH), ("a", hd)]


def test_people_keep_their_values_until_they_are_lost_absent_or_new():
    state = PersonState(lambda skeleton: Value())
    first = values_of(state, pose("a"), pose("b"))
    assert first[0] is not first[1]
    assert values_of(state, pose("b"), pose("a")) == {0: first[1], 1: first[0]}
    assert values_of(state, pose("a"), source="cam1")[0] is not first[0]
    assert values_of(state, pose("a", state="lost"), pose("b")) == {1: first[1]}
    assert values_of(state, pose("a"), pose("b"))[0] is not first[0]
    assert values_of(state, pose("a", state="new"), pose("b", state="predicted"))[1] is first[1]
    values_of(state)
    assert values_of(state, pose("b"))[0] is not first[1]
    assert values_of(state, pose("b"))[0] is not values_of(state, pose("b"), size_wh=(1280, 720))[0]


def test_values_of_absent_people_are_freed():
    state = PersonState(lambda skeleton: Value())
    values = [weakref.ref(values_of(state, pose(f"n{number}"))[0]) for number in range(5)]
    gc.collect()
    assert [value() is None for value in values] == [True] * 4 + [False]


@pytest.mark.parametrize("kp2d", [f32([1, 2, 1], [3, 4, 0.5]), f32([1, 2, 1], [float("nan")] * 2 + [0])])
def test_a_pose_comes_out_of_a_batch_unchanged(kp2d):
    poses = pose(root=f32(1, 2, 3), root_status="height", kp2d=kp2d), pose("b", kp2d=kp2d)
    here = batch(*poses)
    assert [plain(here.pose(row)) for row in (0, 1)] == [plain(each) for each in poses]


def test_poses_leave_out_unwanted_keypoints_and_those_of_lost_people():
    kp2d = f32([1, 2, 1], [3, 4, 1])
    here = batch(pose(kp2d=kp2d), pose("b", state="lost"))
    assert plain(here.pose(0).kp2d) == plain(kp2d)
    assert (here.pose(0, kp2d=False).kp2d, here.pose(1).kp2d) == (None, None)


def test_interpolated_joints_are_visible_when_both_neighbours_were_detected():
    origins = ["OBSERVED", "OBSERVED", "INTERPOLATED", "INTERPOLATED", "PREDICTED", "ABSENT"]
    origin = np.array([JointOrigin[name] for name in origins], np.uint8)
    score = f32(0.5, 0.0, 0.5, 0.0, 0.5, 0.5)
    person = replace(pose("a"), xyz=np.zeros((6, 3), np.float32), score=score, origin=origin, kp2d=None)
    assert batch(person).visible.tolist() == [[True, True, True, False, False, False]]
    assert person.visible.tolist() == [True, True, True, False, False, False]
