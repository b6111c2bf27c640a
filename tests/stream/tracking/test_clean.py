import numpy as np
import pytest

from stream.errors import ConfigError
from stream.health import Health
from stream.messages import Header, KeypointFrame, Keypoints
from stream.tracking.clean import Cleaner, mask_joints


def frame(person: Keypoints, skeleton: str = "h36m17") -> KeypointFrame:
    return KeypointFrame(Header("cam0", 0, 0, 0), (640, 480), skeleton, (person,), 0)


def person(joints: int = 17) -> Keypoints:
    return Keypoints(np.full((joints, 2), 100, np.float32), np.full(joints, 0.5, np.float32), "a")


def missing(keypoints: Keypoints) -> list[int]:
    """Indices of the missing joints, which all are NaN with score 0."""
    no_position = np.isnan(keypoints.xy).all(axis=1)
    np.testing.assert_array_equal(no_position, keypoints.score == 0)
    return np.flatnonzero(no_position).tolist()


def test_a_frame_that_needs_no_cleaning_is_returned_itself():
    clean_frame = frame(person())
    assert Cleaner("h36m17", 0.1, Health()).clean(clean_frame) is clean_frame


def test_joints_below_min_score_are_masked():
    weak = person()
    weak.score[3] = 0.04
    (cleaned,) = Cleaner("h36m17", 0.05, Health()).clean(frame(weak)).persons
    assert missing(cleaned) == [3]
    assert cleaned.id == "a"


def test_joints_further_out_than_ten_image_sides_are_masked_and_counted():
    far, health = person(), Health()
    far.xy[5], far.xy[6] = (6401, 0), (6400, -6400)
    (cleaned,) = Cleaner("h36m17", 0.0, health).clean(frame(far)).persons
    assert missing(cleaned) == [5]
    assert health.counter("cam0", "far_joints") == 1


def test_the_skeleton_is_converted():
    cleaned = Cleaner("h36m17", 0.0, Health()).clean(frame(person(), "coco17"))
    assert cleaned.skeleton == "h36m17"
    np.testing.assert_array_equal(cleaned.persons[0].xy, np.full((17, 2), 100, np.float32))


def test_a_skeleton_that_cannot_be_converted_raises():
    with pytest.raises(ConfigError, match="can be converted to h36m17, not to coco17"):
        Cleaner("coco17", 0.0, Health()).clean(frame(person(), "h36m17"))


def test_masking_leaves_the_given_person_unchanged():
    original = person()
    masked = mask_joints(original, np.arange(17) < 2)
    assert (missing(masked), missing(original)) == ([0, 1], [])


def test_the_middle_of_eye_and_ear_of_each_side_is_kept_as_the_face():
    detected = person()
    detected.xy[[1, 3]] = (110, 50), (120, 60)  # left eye and ear
    detected.xy[[2, 4]] = (90, 50), (np.nan, np.nan)
    detected.score[4] = 0
    (cleaned,) = Cleaner("h36m17", 0.0, Health()).clean(frame(detected, "coco17")).persons
    np.testing.assert_array_equal(cleaned.face, np.array([[115, 55], [90, 50]], np.float32))


def test_a_joint_with_exactly_the_minimal_score_is_kept():
    clean_frame = frame(person())
    assert Cleaner("h36m17", 0.5, Health()).clean(clean_frame) is clean_frame
