import pytest

from stream.messages import Pose
from stream.postprocess.batch import PersonState, PoseBatch, SourceState
from tests.examples import f32, plain, pose, pose_frame

SIZE_WH = (640, 480)


def batch(*poses: Pose, source: str = "cam0", size_wh: tuple[int, int] = SIZE_WH) -> PoseBatch:
    return PoseBatch.of("h36m17", pose_frame(source=source).header, size_wh, poses, "cam0_optical_frame")


class Thing:
    pass


def test_every_source_has_its_own_and_a_camera_that_changes_its_resolution_starts_anew():
    made = []
    things = SourceState(lambda source, size_wh: made.append((source, size_wh)) or len(made))
    hd = (1280, 720)
    moments = [batch(source=s, size_wh=wh).frames[0] for s, wh in [("a", hd), ("b", hd), ("a", SIZE_WH)]]
    assert [things.get(moments[n]) for n in (0, 0, 1, 2, 2, 1, 0)] == [1, 1, 2, 3, 3, 2, 4]
    assert made == [("a", hd), ("b", hd), ("a", SIZE_WH), ("a", hd)]


def test_everybody_keeps_what_is_theirs_until_they_are_lost_gone_or_new():
    things = PersonState(lambda skeleton: Thing())

    def of(*poses: Pose, **changes) -> dict[int, Thing]:
        here = batch(*poses, **changes)
        return dict(things.get(here, here.frames[0]))

    first = of(pose("a"), pose("b"))
    assert first[0] is not first[1]
    assert of(pose("b"), pose("a")) == {0: first[1], 1: first[0]}
    assert of(pose("a"), source="cam1")[0] is not first[0]
    assert of(pose("a", state="lost"), pose("b")) == {1: first[1]}
    assert of(pose("a"), pose("b"))[0] is not first[0]
    assert of(pose("a", state="new"), pose("b", state="predicted"))[1] is first[1]
    of()
    assert of(pose("b"))[0] is not first[1]
    assert of(pose("b"))[0] is not of(pose("b"), size_wh=(1280, 720))[0]


@pytest.mark.parametrize("kp2d", [f32([1, 2, 1], [3, 4, 0.5]), f32([1, 2, 1], [float("nan")] * 2 + [0])])
def test_a_person_comes_out_of_a_batch_as_they_went_in(kp2d):
    given = pose(root=f32(1, 2, 3), root_status="height", kp2d=kp2d), pose("b", kp2d=kp2d)
    here = batch(*given)
    assert [plain(here.pose(row)) for row in (0, 1)] == [plain(each) for each in given]


def test_keypoints_that_nobody_wants_or_of_who_is_lost_are_left_out():
    here = batch(pose(kp2d=f32([1, 2, 1], [3, 4, 1])), pose("b", state="lost"))
    assert [here.pose(0).kp2d is None, here.pose(0, kp2d=False).kp2d, here.pose(1).kp2d] == [
        False,
        None,
        None,
    ]
