import zipfile
from pathlib import Path

import numpy as np
import pytest

from sources.mediapipe import MediaPipe
from sources.mediapipe import model_files as models
from stream.clock import FakeClock
from stream.errors import ConfigError
from stream.messages import U8, Frame, Header, KeypointFrame
from stream.protocols import ComponentContext, opened
from stream.skeletons import skeleton_named

JOINT = {name: index for index, name in enumerate(skeleton_named("blazepose33").joints)}


@pytest.fixture(scope="module")
def model() -> str:
    """The full model, in the cache of whoever runs the tests."""
    return str(models.fetch("full"))


@pytest.fixture
def astronaut() -> U8:
    """A woman who faces the camera, from the hips up (512, 512, 3)."""
    data = pytest.importorskip("skimage.data")
    return np.asarray(data.astronaut())


def detect(
    model: str, *frames: Frame, clock: FakeClock | None = None, **settings: object
) -> list[KeypointFrame]:
    chosen = MediaPipe.Settings(path=model, **settings)  # type: ignore[arg-type]
    with opened(MediaPipe(chosen, ComponentContext("cam0", clock=clock or FakeClock()))) as detector:
        return [detector.detect(frame) for frame in frames]


def frame(image: U8, seq: int = 0, captured_ns: int | None = None) -> Frame:
    captured_ns = seq * 40_000_000 if captured_ns is None else captured_ns
    return Frame(Header("cam0", seq, captured_ns, captured_ns), image)


def test_a_person_is_found_with_left_and_right_where_they_are(model: str, astronaut: U8) -> None:
    clock = FakeClock(now_ns=77)
    shown = frame(astronaut)
    (found,) = detect(model, shown, clock=clock)
    assert found.header is shown.header
    assert (found.size_wh, found.skeleton, found.detected_ns) == ((512, 512), "blazepose33", 77)
    (person,) = found.persons
    assert (person.id, person.xy.shape) == (None, (33, 2))
    x, y = person.xy.T
    nose, left_ear, right_ear = JOINT["nose"], JOINT["left_ear"], JOINT["right_ear"]
    left_shoulder, right_shoulder = JOINT["left_shoulder"], JOINT["right_shoulder"]
    assert x[right_ear] < x[nose] < x[left_ear]
    assert x[right_shoulder] < x[right_ear]
    assert x[left_ear] < x[left_shoulder]
    assert y[nose] < min(y[left_shoulder], y[right_shoulder])
    np.testing.assert_allclose(person.xy[nose], (223, 132), atol=8)


def test_the_score_is_the_landmarks_visibility(model: str, astronaut: U8) -> None:
    ((person,),) = (found.persons for found in detect(model, frame(astronaut)))
    assert person.score[[JOINT["nose"], JOINT["left_shoulder"]]].min() > 0.95
    assert person.score[[JOINT["left_ankle"], JOINT["right_ankle"]]].max() < 0.5  # below the picture
    assert person.score.min() >= 0
    assert person.score.max() <= 1


def test_the_detectors_own_3d_is_around_the_hips_in_camera_axes(model: str, astronaut: U8) -> None:
    with opened(
        MediaPipe(MediaPipe.Settings(path=model), ComponentContext("cam0", clock=FakeClock()))
    ) as detector:
        found, (xyz,) = detector.detect_in_space(frame(astronaut))
    assert len(found.persons) == 1
    assert (xyz.shape, xyz.dtype) == ((33, 3), np.float32)
    hips = xyz[[JOINT["left_hip"], JOINT["right_hip"]]]
    np.testing.assert_allclose(hips.mean(axis=0), 0.0, atol=0.02)
    assert xyz[JOINT["right_shoulder"], 0] < xyz[JOINT["left_shoulder"], 0]  # x to the right
    assert -0.8 < xyz[JOINT["nose"], 1] < -0.4  # y down, metres
    assert xyz[JOINT["nose"], 2] < xyz[JOINT["left_ear"], 2]  # z away: she looks into the camera


def test_pixels_are_those_of_a_picture_that_is_not_square(model: str, astronaut: U8) -> None:
    wide = np.zeros((512, 900, 3), np.uint8)
    wide[:, 300:812] = astronaut
    ((square,), (moved,)) = (detect(model, frame(image))[0].persons for image in (astronaut, wide))
    face = slice(JOINT["nose"], JOINT["right_ear"] + 1)
    np.testing.assert_allclose(moved.xy[face] - square.xy[face], np.tile((300.0, 0.0), (9, 1)), atol=8)


def test_two_people_are_two_persons(model: str, astronaut: U8) -> None:
    gap = np.zeros((512, 100, 3), np.uint8)
    (found,) = detect(model, frame(np.concatenate([astronaut, gap, astronaut], axis=1)), num_poses=2)
    noses = sorted(person.xy[JOINT["nose"], 0] for person in found.persons)
    np.testing.assert_allclose(noses, (223, 223 + 612), atol=12)


def test_where_nobody_is_nobody_is_found(model: str) -> None:
    (found,) = detect(model, frame(np.full((240, 320, 3), 90, np.uint8)))
    assert found.persons == ()
    assert found.size_wh == (320, 240)


def test_times_that_repeat_or_run_backwards_do_not_stop_detection(model: str, astronaut: U8) -> None:
    times_ns = [5_000_000_000, 5_000_000_000, 1_000_000_000, 1_000_000_001, 0, 9_000_000_000]
    found = detect(model, *(frame(astronaut, seq, at) for seq, at in enumerate(times_ns)))
    assert [len(each.persons) for each in found] == [1] * 6
    assert [each.header.captured_ns for each in found] == times_ns


def test_mediapipe_is_told_increasing_milliseconds_with_the_frames_spacing() -> None:
    detector = MediaPipe(MediaPipe.Settings(), ComponentContext("cam0"))
    captured_ms = [500.0, 533.4, 566.8, 566.8, 100.0, 140.0, 140.2]
    told = [detector._timestamp_ms(round(ms * 1e6)) for ms in captured_ms]
    assert told == [1, 34, 67, 68, 69, 109, 110]


def test_opening_writes_nothing_to_the_terminal(model: str, capfd: pytest.CaptureFixture[str]) -> None:
    detect(model)
    assert capfd.readouterr() == ("", "")


def test_what_others_write_while_it_opens_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    from sources.mediapipe.detector import _quiet

    with _quiet():
        os.write(2, b"before\nINFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        os.write(2, b"W0000 00:00:17 5 x.cc:114] Feedback\nafter\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_a_model_file_that_is_missing_damaged_or_something_else_is_refused(
    model: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"path: no such model file: {tmp_path}/none.task"):
        detect(str(tmp_path / "none.task"))
    truncated = tmp_path / "truncated.task"
    truncated.write_bytes(Path(model).read_bytes()[:-1000])
    with pytest.raises(ConfigError, match=r"expected a whole .task model file, but it is damaged"):
        detect(str(truncated))
    other = tmp_path / "other.task"
    with zipfile.ZipFile(other, "w") as bundle:
        bundle.writestr("hello.txt", "hello")
    with pytest.raises(ConfigError, match=r"other.task: MediaPipe cannot use this model"):
        detect(str(other))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_poses": 0}, "num_poses: expected a number of persons from 1, got 0"),
        ({"min_tracking": 1.5}, "min_tracking: expected a score in 0..1, got 1.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        MediaPipe.Settings(**settings)  # type: ignore[arg-type]
    assert str(error.value) == sentence


def test_closing_twice_is_harmless(model: str) -> None:
    detector = MediaPipe(MediaPipe.Settings(path=model), ComponentContext("cam0"))
    with opened(detector):
        pass
    detector.close()
