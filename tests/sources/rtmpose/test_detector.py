from pathlib import Path

import numpy as np
import pytest

from sources.rtmpose import RTMPose
from stream.clock import FakeClock
from stream.errors import ConfigError
from stream.messages import U8, Frame, Header, KeypointFrame
from stream.protocols import ComponentContext, opened
from tests.sources.rtmpose.onnx_models import BLUE, GREEN, PERSON_SIDE, RED, person_model, pose_model, spots

SIZE_WH = (640, 480)
SCALE = PERSON_SIDE / SIZE_WH[0]  # of an image in the person detector's input
LEFT, RIGHT = (60, 100, 260, 400), (360, 60, 600, 460)  # boxes x0, y0, x1, y1 px of two people
PLACES = {
    (100, 160): RED, (200, 250): GREEN, (150, 350): BLUE,
    (420, 120): RED, (540, 260): GREEN, (480, 420): BLUE,
}  # fmt: skip


def box(x0: float, y0: float, x1: float, y1: float, score: float) -> tuple[float, ...]:
    return (*(SCALE * value for value in (x0, y0, x1, y1)), score)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    person, pose = tmp_path / "person.onnx", tmp_path / "pose.onnx"
    person.write_bytes(person_model([box(*LEFT, 0.9), box(*RIGHT, 0.8)], [0, 0]))
    pose.write_bytes(pose_model())
    return {"person": str(person), "pose": str(pose)}


def detect(files: dict[str, str], image: U8, **settings: object) -> KeypointFrame:
    detector = RTMPose(
        RTMPose.Settings(**files, **settings),  # type: ignore[arg-type]
        ComponentContext("cam0", clock=FakeClock(now_ns=77)),
    )
    with opened(detector):
        return detector.detect(Frame(Header("cam0", 3, 50, 50), image))


def test_each_person_gets_the_keypoints_of_the_own_box(files):
    keypoints = detect(files, spots(SIZE_WH, PLACES))
    assert (keypoints.skeleton, keypoints.size_wh, keypoints.detected_ns) == ("coco17", SIZE_WH, 77)
    assert keypoints.header == Header("cam0", 3, 50, 50)
    left, right = sorted(keypoints.persons, key=lambda person: float(person.xy[0, 0]))
    places = list(PLACES)
    for person, expected in ((left, places[:3]), (right, places[3:])):
        assert (person.id, person.xy.shape, person.xy.dtype) == (None, (17, 2), np.float32)
        np.testing.assert_allclose(person.xy[:3], expected, atol=2.0)
        np.testing.assert_allclose(person.xy[3:6], expected, atol=2.0)
        assert person.score[:3].min() > 0.9
        assert person.score.max() <= 1.0


def test_a_person_at_the_edge_is_found_where_it_is(files, tmp_path):
    (tmp_path / "person.onnx").write_bytes(person_model([box(500, 200, 700, 600, 0.9)], [0]))
    (person,) = detect(files, spots(SIZE_WH, {(620, 300): RED, (560, 460): GREEN})).persons
    np.testing.assert_allclose(person.xy[:2], [(620, 300), (560, 460)], atol=2.0)


def test_boxes_of_other_things_and_of_low_scores_are_left_out(files, tmp_path):
    boxes = [box(*LEFT, 0.9), box(*RIGHT, 0.4)]
    (tmp_path / "person.onnx").write_bytes(person_model(boxes, [0, 0]))
    image = spots(SIZE_WH, PLACES)
    assert len(detect(files, image).persons) == 1
    assert len(detect(files, image, min_detection=0.3).persons) == 2
    (tmp_path / "person.onnx").write_bytes(person_model(boxes, [17, 0]))
    assert len(detect(files, image, min_detection=0.3).persons) == 1


def test_two_boxes_of_one_person_give_one_pose(files, tmp_path):
    boxes = [box(*LEFT, 0.9), box(LEFT[0] - 9, LEFT[1], LEFT[2], LEFT[3] - 7, 0.8), box(*RIGHT, 0.7)]
    (tmp_path / "person.onnx").write_bytes(person_model(boxes, [0, 0, 0]))
    assert len(detect(files, spots(SIZE_WH, PLACES)).persons) == 2


def test_the_number_of_people_is_limited(files):
    (person,) = detect(files, spots(SIZE_WH, PLACES), num_poses=1).persons
    np.testing.assert_allclose(person.xy[0], (100, 160), atol=2.0)


def test_an_image_without_people_has_no_poses(files):
    assert detect(files, np.zeros((480, 640, 3), np.uint8)).persons == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("person", b"no model", "person: ONNX Runtime cannot use this model"),
        ("pose", pose_model(133), "models of the body have 17 keypoints"),
        ("pose", person_model([(0, 0, 1, 1, 1)], [0]), "pose: expected a model with outputs"),
        ("person", pose_model(), "person: expected a model with an output of boxes"),
    ],
)
def test_another_model_is_refused(files, name, content, message):
    Path(files[name]).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        detect(files, np.zeros((48, 64, 3), np.uint8))


def test_a_file_with_another_checksum_is_refused(files):
    with pytest.raises(ConfigError, match=r"pose: .*pose.onnx: expected SHA-256 00+, got [0-9a-f]{64}"):
        detect(files, np.zeros((48, 64, 3), np.uint8), pose_sha256="0" * 64)


def test_a_missing_file_is_refused(files):
    with pytest.raises(ConfigError, match=r"person: nowhere.onnx: cannot be read"):
        detect(files | {"person": "nowhere.onnx"}, np.zeros((48, 64, 3), np.uint8))
