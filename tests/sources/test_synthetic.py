import numpy as np
import pytest

from sources.synthetic import LAP_S, Synthetic
from stream.clock import FakeClock
from stream.errors import ConfigError, EndOfStream
from stream.messages import Header, KeypointFrame
from stream.protocols import ComponentContext, opened
from stream.skeletons import skeleton_named

JOINTS = skeleton_named("h36m17").joints


def synthetic(clock: FakeClock | None = None, **settings) -> Synthetic:
    return Synthetic(Synthetic.Settings(**settings), ComponentContext("walker", clock=clock or FakeClock()))


def frames(**settings) -> list[KeypointFrame]:
    with opened(synthetic(pace="full", **settings)) as source:
        return [frame for _ in range(settings["frames"]) if (frame := source.read(0)) is not None]


def pixels(frame: KeypointFrame) -> np.ndarray:
    return np.stack([person.xy for person in frame.persons])


def test_the_defaults_work():
    with opened(Synthetic(Synthetic.Settings(), ComponentContext("walker", clock=FakeClock()))) as source:
        frame = source.read(1.0)
    assert frame is not None
    assert (frame.header.source, frame.header.seq, frame.skeleton) == ("walker", 0, "h36m17")
    assert frame.size_wh == (1280, 720)
    assert [person.id for person in frame.persons] == [None]
    assert frame.persons[0].xy.shape == (17, 2)


def test_keypoints_are_the_truth_seen_by_the_camera():
    source = synthetic(pace="full", noise_px=0, persons=3, frames=1)
    with opened(source):
        frame = source.read(0)
    assert frame is not None
    truth = source.truth(0)
    assert truth.shape == (3, 17, 3)
    assert (truth[..., 2] > 2).all()  # in front of the camera
    np.testing.assert_allclose(pixels(frame), source.camera.project(truth), atol=0.001)


def test_people_in_the_picture_stand_upright_and_fit_in():
    source = synthetic(pace="full", noise_px=0)
    for seq in range(0, round(50 * LAP_S), 7):
        truth = source.truth(seq)[0]
        assert truth[JOINTS.index("head_top"), 1] < truth[JOINTS.index("pelvis"), 1] - 0.5  # y is down
        seen = source.camera.project(truth)
        assert (seen > 40).all()
        assert (seen < np.array([1240, 700])).all()


def test_somebody_who_faces_the_camera_has_the_left_hand_on_the_right_of_the_picture():
    source = synthetic(pace="full", noise_px=0)
    facing = 0
    for seq in range(0, round(50 * LAP_S), 3):
        truth = source.truth(seq)[0]
        nose, thorax = truth[JOINTS.index("neck_nose")], truth[JOINTS.index("thorax")]
        across = truth[JOINTS.index("left_shoulder"), 0] - truth[JOINTS.index("right_shoulder"), 0]
        towards = thorax[2] - nose[2]
        if abs(towards) > 0.05:
            facing += towards > 0
            assert (across > 0) == (towards > 0)
    assert facing > 30


def test_noise_has_the_asked_size():
    source = synthetic(pace="full", noise_px=3, frames=200)
    with opened(source):
        off = [
            pixels(frame) - source.camera.project(source.truth(seq))
            for seq in range(200)
            if (frame := source.read(0)) is not None
        ]
    assert np.std(off) == pytest.approx(3, rel=0.05)
    assert abs(np.mean(off)) < 0.2


def test_the_asked_part_of_the_joints_is_missing():
    people = [person for frame in frames(frames=300, missing=0.2) for person in frame.persons]
    gone = np.stack([np.isnan(person.xy).any(axis=1) for person in people])
    assert gone.mean() == pytest.approx(0.2, abs=0.02)
    score = np.stack([person.score for person in people])
    assert ((score == 0) == gone).all()
    assert ((score[~gone] >= 0.7) & (score[~gone] <= 1)).all()


def test_what_leaves_the_picture_is_missing():
    # A low and wide picture has no room for the whole body.
    people = [person for frame in frames(frames=600, size_wh=(1280, 120)) for person in frame.persons]
    gone = np.stack([np.isnan(person.xy).any(axis=1) for person in people])
    assert gone[:, JOINTS.index("right_ankle")].all()
    assert gone[:, JOINTS.index("pelvis")].mean() < 0.5
    inside = np.stack([person.xy for person in people])[~gone]
    assert ((inside >= 0) & (inside < [1280, 120])).all()


def test_the_same_seed_gives_the_same_frames_and_another_does_not():
    settings = {"frames": 5, "persons": 2, "missing": 0.3}
    one, same, other = ([pixels(frame) for frame in frames(seed=seed, **settings)] for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(np.nan_to_num(one), np.nan_to_num(other))


def test_people_never_run_into_each_other():
    source = synthetic(pace="full", persons=8)
    for seq in range(0, 600, 10):
        hips = source.truth(seq)[:, 0]
        apart = np.linalg.norm(hips[:, None] - hips[None], axis=2)
        assert apart[~np.eye(8, dtype=bool)].min() > 1.2


def test_nobody_is_a_legal_number_of_people():
    assert [frame.persons for frame in frames(frames=2, persons=0)] == [(), ()]


# Time


def test_at_full_pace_frames_come_at_once_in_their_own_time():
    clock = FakeClock()
    with opened(synthetic(clock, pace="full", fps=25, frames=3)) as source:
        assert not source.live
        got = [source.read(0) for _ in range(3)]
    assert [frame.header for frame in got if frame] == [
        Header("walker", 0, 0, 1_700_000_000_000_000_000),
        Header("walker", 1, 40_000_000, 1_700_000_000_040_000_000),
        Header("walker", 2, 80_000_000, 1_700_000_000_080_000_000),
    ]
    assert clock.now_ns() == FakeClock().now_ns()


def test_in_real_time_a_frame_comes_when_it_is_due():
    clock = FakeClock(now_ns=5_000_000_000, unix_ns=7_000_000_000)
    with opened(synthetic(clock, fps=25)) as source:
        assert source.live
        first = source.read(1.0)
        early = source.read(0.025)
        second = source.read(0.025)
    assert early is None
    assert first is not None
    assert second is not None
    assert first.header == Header("walker", 0, 5_000_000_000, 7_000_000_000)
    assert second.header == Header("walker", 1, 5_040_000_000, 7_040_000_000)
    assert (second.detected_ns, clock.now_ns()) == (5_040_000_000, 5_040_000_000)


def test_a_reader_who_falls_behind_gets_every_frame_with_its_own_time():
    clock = FakeClock(now_ns=0)
    with opened(synthetic(clock, fps=10)) as source:
        source.read(0)
        clock.advance(1.0)
        late = [source.read(0) for _ in range(3)]
    assert [(f.header.captured_ns, f.detected_ns) for f in late if f] == [
        (100_000_000, 1_000_000_000), (200_000_000, 1_000_000_000), (300_000_000, 1_000_000_000),
    ]  # fmt: skip


def test_after_the_last_frame_comes_the_end():
    with opened(synthetic(pace="full", frames=2)) as source:
        assert source.read(0)
        assert source.read(0)
        with pytest.raises(EndOfStream, match="walker: all 2 frames were read"):
            source.read(0)


def test_closing_twice_is_harmless_and_opening_again_begins_again():
    source = synthetic(pace="full", noise_px=0)
    with opened(source):
        first = source.read(0)
        source.read(0)
    source.close()
    with opened(source):
        again = source.read(0)
    assert first is not None
    assert again is not None
    assert again.header == first.header


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 0}, "fps: expected above 0, got 0"),
        ({"frames": -1}, "frames: expected 0 or more, or null for no end, got -1"),
        ({"persons": 9}, "persons: expected 0 to 8, got 9"),
        ({"noise_px": -1}, "noise_px: expected 0 or more, got -1"),
        ({"missing": 2}, "missing: expected 0 to 1, got 2"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
        ({"size_wh": (0, 5)}, r"size_wh: expected a positive width and height, got \(0, 5\)"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_expected(settings, message):
    with pytest.raises(ConfigError, match=message):
        Synthetic.Settings(**settings)
