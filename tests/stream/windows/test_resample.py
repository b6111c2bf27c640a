import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import JointOrigin
from stream.windows.resample import Timing, resample
from stream.windows.ring import Ring

SIZE = (640, 480)
MS = 1_000_000
STEP = 20 * MS
OBSERVED, INTERPOLATED, PREDICTED, PADDED = (
    JointOrigin.OBSERVED,
    JointOrigin.INTERPOLATED,
    JointOrigin.PREDICTED,
    JointOrigin.PADDED,
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
    return Timing(step_ns=STEP).read(ring, frames, SIZE, ring.count)


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
    frames, pace = 5, Timing(step_ns=STEP)
    ring = ring_of(range(400), capacity=2 * pace.room(frames) + 2)  # 1000 Hz
    got = pace.read(ring, frames, SIZE, ring.count)
    assert got.captured_ns.tolist() == [at * MS for at in (319, 339, 359, 379, 399)]
    assert got.origin.tolist() == [PADDED, PADDED, PADDED, PADDED, OBSERVED]


def test_native_takes_frames_as_they_were_captured():
    ring = ring_of([0, 7, 50, 51, 90])
    got = Timing().read(ring, 4, SIZE, ring.count)
    assert got.captured_ns.tolist() == [at * MS for at in (7, 50, 51, 90)]
    assert got.captured is None


def test_a_window_keeps_the_captured_frames_it_was_made_of():
    got = window(ring_of([0, 13, 37, 64, 90, 111]), 4)
    assert got.captured is not None
    assert got.captured.captured_ns.tolist() == [at * MS for at in (37, 64, 90, 111)]


# Cameras that keep the lifter's pace


def read(ring: Ring, frames: int, since_ms: float | None = None):
    since_ns = None if since_ms is None else round(since_ms * MS)
    return Timing(step_ns=STEP).read(ring, frames, SIZE, ring.count, since_ns)


def test_frames_near_the_pace_are_taken_as_they_are_at_their_own_times():
    times = [0, 21.5, 41, 60, 80.5, 99, 120.5]
    got = read(ring_of(times), 5)
    assert got.captured_ns.tolist() == [round(at * MS) for at in times[-5:]]
    assert got.keypoints[:, 0, 0].tolist() == times[-5:]
    assert got.origin.tolist() == [OBSERVED] * 5


def test_a_frame_near_the_pace_is_the_same_in_every_window():
    ring, rng = Ring(64, joints=2), np.random.default_rng(0)
    windows = []
    for index, late in enumerate(rng.uniform(-0.9, 0.9, 20)):
        at_ms = 20 * index + late
        if index not in (7, 12):
            xy = rng.uniform(0, 640, (2, 2)).astype(np.float32)
            ring.push(xy, np.ones(2, np.float32), round(at_ms * MS))
            windows.append(read(ring, 6))
    rows = {row.tobytes() for window in windows for row in window.keypoints}
    assert len(rows) == 20


def test_where_a_frame_at_the_pace_is_missing_only_that_one_is_made():
    times = [0, 21, 40, 81, 100]
    got = read(ring_of(times), 6)
    assert got.keypoints[:, 0, 0].tolist() == [0, 21, 40, 60.5, 81, 100]
    assert got.captured_ns.tolist() == [round(at * MS) for at in (0, 21, 40, 60.5, 81, 100)]
    assert got.origin.tolist() == [OBSERVED] * 3 + [INTERPOLATED] + [OBSERVED] * 2


def test_a_camera_at_half_the_pace_has_every_second_point():
    got = read(ring_of([0, 40.5, 80, 121]), 7)
    assert got.keypoints[:, 0, 0].tolist() == [0, 20.25, 40.5, 60.25, 80, 100.5, 121]
    assert got.origin.tolist() == [OBSERVED, *[INTERPOLATED, OBSERVED] * 3]


def test_before_the_first_frame_near_the_pace_points_are_padded():
    got = read(ring_of([50, 71]), 5)
    assert got.origin.tolist() == [PADDED, PADDED, PADDED, OBSERVED, OBSERVED]
    assert got.keypoints[:, 0, 0].tolist() == [50, 50, 50, 50, 71]
    assert got.captured_ns.tolist() == [at * MS for at in (-10, 10, 30, 50, 71)]


@pytest.mark.parametrize("times", [np.arange(20) * 20.6, [*np.arange(19) * 20.0, 383.0]])
def test_who_drifts_from_the_pace_or_is_once_off_it_is_resampled(times):
    got = read(ring_of(times, capacity=80), 15)
    assert np.diff(got.captured_ns).tolist() == [STEP] * 14
    np.testing.assert_allclose(got.keypoints[:, 0, 0], times[-1] - 20 * np.arange(14, -1, -1), atol=0.01)


def test_a_fast_camera_is_resampled_when_poses_are_asked_for_before_its_frames():
    ring = ring_of(np.arange(60) * 19.7, capacity=80)
    first_ms = 19.7 * 39
    assert read(ring, 21, first_ms).captured_ns[0] == round(first_ms * MS)
    assert read(ring, 21, first_ms - 1).captured_ns[0] == round(19.7 * 59 * MS) - 20 * STEP


@given(
    st.lists(st.tuples(st.integers(1, 200), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_any_history_gives_a_finite_window_on_the_grid(steps: list[tuple[int, bool]], frames: int):
    times = np.cumsum([step for step, _ in steps])
    got = window(ring_of(times.tolist(), [seen for _, seen in steps], capacity=80), frames)
    assert got.keypoints.shape == (frames, 2, 3)
    assert np.isfinite(got.keypoints).all()
    assert np.abs(np.diff(got.captured_ns) - STEP).max(initial=0) <= STEP // 10
    assert got.captured_ns[-1] == times[-1] * MS
    assert (got.keypoints[got.origin == OBSERVED][:, :, 2] > 0).all()
    assert (got.keypoints[got.origin == PREDICTED][:, :, 2] == 0).all()
    if any(seen for _, seen in steps):
        assert (np.diff(got.keypoints[:, 0, 0]) >= 0).all()  # time never runs backwards in it


def test_a_sudden_score_in_the_captured_frames_is_left_alone():
    ring = ring_of([0, 40])
    before = ring.window(2, SIZE).keypoints.copy()
    resample(ring.window(2, SIZE), 5, STEP)
    np.testing.assert_array_equal(ring.window(2, SIZE).keypoints, before)
