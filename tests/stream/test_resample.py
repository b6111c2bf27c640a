import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import Origin
from stream.resample import Pace, resample
from stream.ring import Ring

SIZE = (640, 480)
MS = 1_000_000
STEP = 20 * MS
OBSERVED, INTERPOLATED, PREDICTED, PADDED = (
    Origin.OBSERVED,
    Origin.INTERPOLATED,
    Origin.PREDICTED,
    Origin.PADDED,
)


def ring_of(times_ms, seen=None, capacity: int = 64) -> Ring:
    """Two joints whose x and y are the time in ms, seen where `seen` says so, with a score of 0.8."""
    ring = Ring(capacity, joints=2)
    for index, at in enumerate(times_ms):
        if seen is None or seen[index]:
            ring.push(np.full((2, 2), at, np.float32), np.full(2, 0.8, np.float32), round(at * MS))
        else:
            ring.push_gap(round(at * MS))
    return ring


def window(ring: Ring, frames: int = 5):
    return Pace(step_ns=STEP).read(ring, frames, SIZE, ring.count)


def test_frames_that_lie_on_the_grid_are_taken_as_they_are():
    got = window(ring_of(range(0, 200, 20)))
    assert got.keypoints[:, 0].tolist() == [[at, at, np.float32(0.8)] for at in (100, 120, 140, 160, 180)]
    assert got.captured_ns.tolist() == [at * MS for at in (100, 120, 140, 160, 180)]
    assert got.origin.tolist() == [OBSERVED] * 5


def test_the_newest_frame_is_on_the_grid_whenever_it_comes():
    for newest in (183, 187.5, 199):
        got = window(ring_of([*range(0, 180, 20), newest]))
        assert got.captured_ns[-1] == round(newest * MS)
        assert got.keypoints[-1, 0].tolist() == [np.float32(newest)] * 2 + [np.float32(0.8)]
        assert got.origin[-1] == OBSERVED


@pytest.mark.parametrize("fps", [15, 25, 30, 60, 144])
def test_whatever_the_camera_rate_the_window_moves_at_the_lifters(fps: int):
    newest = round(1000 / fps * 100)
    ring = ring_of([newest - 1000 / fps * back for back in reversed(range(100))], capacity=200)
    got = window(ring, 9)
    assert np.diff(got.captured_ns).tolist() == [STEP] * 8
    np.testing.assert_allclose(got.keypoints[:, 0, 0], newest - 20 * np.arange(8, -1, -1), atol=0.01)


def test_between_two_frames_a_point_is_interpolated_and_has_the_lower_score():
    ring = Ring(16, joints=1)
    ring.push(np.array([[0, 100]], np.float32), np.array([0.9], np.float32), 0)
    ring.push(np.array([[40, 20]], np.float32), np.array([0.5], np.float32), 40 * MS)
    got = window(ring, 3)
    assert got.keypoints[:, 0].tolist() == [[0, 100, np.float32(0.9)], [20, 60, 0.5], [40, 20, 0.5]]
    assert got.origin.tolist() == [OBSERVED, INTERPOLATED, OBSERVED]


def test_a_point_whose_neighbours_lack_a_joint_does_not_claim_to_see_it():
    ring = Ring(16, joints=2)
    for at, missing in ((0, False), (30, True), (60, False)):
        xy = np.full((2, 2), at, np.float32)
        score = np.ones(2, np.float32)
        if missing:
            xy[1], score[1] = np.nan, 0
        ring.push(xy, score, at * MS)
    got = window(ring, 4)
    assert got.keypoints[:, :, 0].tolist() == [[0, 0], [20, 20], [40, 40], [60, 60]]
    assert got.keypoints[:, :, 2].tolist() == [[1, 1], [1, 0], [1, 0], [1, 1]]


def test_points_in_a_gap_are_interpolated_and_those_after_the_last_sighting_are_predicted():
    got = window(ring_of(range(0, 140, 20), seen=[1, 1, 0, 0, 1, 0, 0]), 7)
    assert got.origin.tolist() == [
        OBSERVED,
        OBSERVED,
        INTERPOLATED,
        INTERPOLATED,
        OBSERVED,
        PREDICTED,
        PREDICTED,
    ]
    assert got.keypoints[:, 0, 0].tolist() == [0, 20, 40, 60, 80, 80, 80]
    assert got.keypoints[:, 0, 2].tolist() == [np.float32(0.8)] * 2 + [0, 0, np.float32(0.8), 0, 0]


def test_missing_frames_leave_a_steady_motion_steady():
    got = window(ring_of([0, 20, 80, 100]), 6)  # two frames never came
    assert got.keypoints[:, 0, 0].tolist() == [0, 20, 40, 60, 80, 100]
    assert got.origin.tolist() == [OBSERVED, OBSERVED, INTERPOLATED, INTERPOLATED, OBSERVED, OBSERVED]


def test_before_the_first_frame_the_grid_repeats_it_and_says_so():
    got = window(ring_of([50, 70]), 5)
    assert got.origin.tolist() == [PADDED, PADDED, PADDED, OBSERVED, OBSERVED]
    assert got.keypoints[:, 0, 0].tolist() == [50, 50, 50, 50, 70]
    assert got.captured_ns.tolist() == [at * MS for at in (-10, 10, 30, 50, 70)]


def test_a_camera_clock_that_trembles_by_a_tenth_of_a_step_still_observes():
    got = window(ring_of([0, 21.5, 39, 61, 80]))
    assert got.origin.tolist() == [OBSERVED] * 5
    assert got.keypoints[:, 0, 2].tolist() == [np.float32(0.8)] * 5


def test_a_camera_much_faster_than_the_grid_gets_a_shorter_window_and_no_error():
    frames, pace = 5, Pace(step_ns=STEP)
    ring = ring_of(range(400), capacity=2 * pace.room(frames) + 2)  # 1000 Hz
    got = pace.read(ring, frames, SIZE, ring.count)
    assert got.captured_ns.tolist() == [at * MS for at in (319, 339, 359, 379, 399)]
    assert got.origin.tolist() == [PADDED, PADDED, PADDED, PADDED, OBSERVED]


def test_native_takes_frames_as_they_were_captured():
    ring = ring_of([0, 7, 50, 51, 90])
    got = Pace().read(ring, 4, SIZE, ring.count)
    assert got.captured_ns.tolist() == [at * MS for at in (7, 50, 51, 90)]
    assert got.captured is None


def test_a_window_keeps_the_captured_frames_it_was_made_of():
    got = window(ring_of([0, 13, 37, 64, 90, 111]), 4)
    assert got.captured is not None
    assert got.captured.captured_ns.tolist() == [at * MS for at in (37, 64, 90, 111)]


@given(
    st.lists(st.tuples(st.integers(1, 200), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_any_history_gives_a_finite_window_on_the_grid(steps: list[tuple[int, bool]], frames: int):
    times = np.cumsum([step for step, _ in steps])
    got = window(ring_of(times.tolist(), [seen for _, seen in steps], capacity=80), frames)
    assert got.keypoints.shape == (frames, 2, 3)
    assert np.isfinite(got.keypoints).all()
    assert np.diff(got.captured_ns).tolist() == [STEP] * (frames - 1)
    assert (got.keypoints[got.origin == OBSERVED][:, :, 2] > 0).all()
    assert (got.keypoints[got.origin == PREDICTED][:, :, 2] == 0).all()
    if any(seen for _, seen in steps):
        assert (np.diff(got.keypoints[:, 0, 0]) >= 0).all()  # time never runs backwards in it


def test_a_sudden_score_in_the_captured_frames_is_left_alone():
    ring = ring_of([0, 40])
    before = ring.window(2, SIZE).keypoints.copy()
    resample(ring.window(2, SIZE), 5, STEP)
    np.testing.assert_array_equal(ring.window(2, SIZE).keypoints, before)
