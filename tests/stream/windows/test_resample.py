import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.messages import JointOrigin
from stream.windows.resample import Timing, WindowCut, resample
from stream.windows.ring import Ring

SIZE = (640, 480)
MS = 1_000_000
STEP_NS = 20 * MS
OBSERVED, INTERPOLATED, PREDICTED, PADDED = (
    JointOrigin.OBSERVED,
    JointOrigin.INTERPOLATED,
    JointOrigin.PREDICTED,
    JointOrigin.PADDED,
)


def ring_of(times_ms, detected=None, capacity: int = 64) -> Ring:
    """Two joints with x = y = time in ms and score 0.8, missing in frames where `detected` is false."""
    ring = Ring(capacity, joints=2)
    for index, at in enumerate(times_ms):
        if detected is None or detected[index]:
            ring.push(np.full((2, 2), at, np.float32), np.full(2, 0.8, np.float32), round(at * MS))
        else:
            ring.push_gap(round(at * MS))
    return ring


def window(ring: Ring, frames: int = 5):
    return Timing(window_step_ns=STEP_NS).window(ring, frames, SIZE, ring.count)


def test_frames_on_the_grid_are_used_unchanged():
    result = window(ring_of(range(0, 200, 20)))
    assert result.keypoints[:, 0].tolist() == [[at, at, np.float32(0.8)] for at in (100, 120, 140, 160, 180)]
    assert result.captured_ns.tolist() == [at * MS for at in (100, 120, 140, 160, 180)]
    assert result.origin.tolist() == [OBSERVED] * 5


def test_the_newest_frame_is_always_on_the_grid():
    for newest in (183, 187.5, 199):
        result = window(ring_of([*range(0, 180, 20), newest]))
        assert result.captured_ns[-1] == round(newest * MS)
        assert result.keypoints[-1, 0].tolist() == [np.float32(newest)] * 2 + [np.float32(0.8)]
        assert result.origin[-1] == OBSERVED


@pytest.mark.parametrize("fps", [15, 25, 30, 60, 144])
def test_at_any_camera_rate_windows_have_the_lifters_rate(fps: int):
    newest = round(1000 / fps * 100)
    ring = ring_of([newest - 1000 / fps * back for back in reversed(range(100))], capacity=200)
    result = window(ring, 9)
    assert np.diff(result.captured_ns).tolist() == [STEP_NS] * 8
    np.testing.assert_allclose(result.keypoints[:, 0, 0], newest - 20 * np.arange(8, -1, -1), atol=0.01)


def test_a_point_between_two_frames_is_interpolated_with_the_lower_score():
    ring = Ring(16, joints=1)
    ring.push(np.array([[0, 100]], np.float32), np.array([0.9], np.float32), 0)
    ring.push(np.array([[40, 20]], np.float32), np.array([0.5], np.float32), 40 * MS)
    result = window(ring, 3)
    assert result.keypoints[:, 0].tolist() == [[0, 100, np.float32(0.9)], [20, 60, 0.5], [40, 20, 0.5]]
    assert result.origin.tolist() == [OBSERVED, INTERPOLATED, OBSERVED]


def test_a_joint_missing_in_a_neighbouring_frame_has_score_0():
    ring = Ring(16, joints=2)
    for at, missing in ((0, False), (30, True), (60, False)):
        xy = np.full((2, 2), at, np.float32)
        score = np.ones(2, np.float32)
        if missing:
            xy[1], score[1] = np.nan, 0
        ring.push(xy, score, at * MS)
    result = window(ring, 4)
    assert result.keypoints[:, :, 0].tolist() == [[0, 0], [20, 20], [40, 40], [60, 60]]
    assert result.keypoints[:, :, 2].tolist() == [[1, 1], [1, 0], [1, 0], [1, 1]]


def test_points_in_a_gap_are_interpolated_and_points_after_the_last_detection_predicted():
    result = window(ring_of(range(0, 140, 20), detected=[1, 1, 0, 0, 1, 0, 0]), 7)
    assert result.origin.tolist() == [
        OBSERVED,
        OBSERVED,
        INTERPOLATED,
        INTERPOLATED,
        OBSERVED,
        PREDICTED,
        PREDICTED,
    ]
    assert result.keypoints[:, 0, 0].tolist() == [0, 20, 40, 60, 80, 80, 80]
    assert result.keypoints[:, 0, 2].tolist() == [np.float32(0.8)] * 2 + [0, 0, np.float32(0.8), 0, 0]


def test_missing_frames_leave_a_steady_motion_steady():
    result = window(ring_of([0, 20, 80, 100]), 6)  # two frames are missing
    assert result.keypoints[:, 0, 0].tolist() == [0, 20, 40, 60, 80, 100]
    assert result.origin.tolist() == [OBSERVED, OBSERVED, INTERPOLATED, INTERPOLATED, OBSERVED, OBSERVED]


def test_points_before_the_first_frame_repeat_it_as_padding():
    result = window(ring_of([50, 70]), 5)
    assert result.origin.tolist() == [PADDED, PADDED, PADDED, OBSERVED, OBSERVED]
    assert result.keypoints[:, 0, 0].tolist() == [50, 50, 50, 50, 70]
    assert result.captured_ns.tolist() == [at * MS for at in (-10, 10, 30, 50, 70)]


def test_a_camera_clock_may_tremble_by_a_tenth_of_a_step():
    result = window(ring_of([0, 21.5, 39, 61, 80]))
    assert result.origin.tolist() == [OBSERVED] * 5
    assert result.keypoints[:, 0, 2].tolist() == [np.float32(0.8)] * 5


def test_a_camera_much_faster_than_the_grid_gets_a_shorter_window():
    frames, timing = 5, Timing(window_step_ns=STEP_NS)
    ring = ring_of(range(400), capacity=2 * timing.max_captured_frames(frames) + 2)  # 1000 Hz
    result = timing.window(ring, frames, SIZE, ring.count)
    assert result.captured_ns.tolist() == [at * MS for at in (319, 339, 359, 379, 399)]
    assert result.origin.tolist() == [PADDED, PADDED, PADDED, PADDED, OBSERVED]


def test_without_a_window_step_frames_are_used_as_captured():
    ring = ring_of([0, 7, 50, 51, 90])
    result = Timing().window(ring, 4, SIZE, ring.count)
    assert result.captured_ns.tolist() == [at * MS for at in (7, 50, 51, 90)]
    assert result.captured is None


def test_a_resampled_window_keeps_its_captured_frames():
    result = window(ring_of([0, 13, 37, 64, 90, 111]), 4)
    assert result.captured is not None
    assert result.captured.captured_ns.tolist() == [at * MS for at in (37, 64, 90, 111)]


# Cameras at the lifter's rate


def window_from(ring: Ring, frames: int, first_pose_ms: float | None = None):
    first_pose_ns = None if first_pose_ms is None else round(first_pose_ms * MS)
    return Timing(window_step_ns=STEP_NS).window(ring, frames, SIZE, ring.count, first_pose_ns)


def test_frames_near_the_grid_are_used_unchanged_at_their_captured_times():
    times = [0, 21.5, 41, 60, 80.5, 99, 120.5]
    result = window_from(ring_of(times), 5)
    assert result.captured_ns.tolist() == [round(at * MS) for at in times[-5:]]
    assert result.keypoints[:, 0, 0].tolist() == times[-5:]
    assert result.origin.tolist() == [OBSERVED] * 5


def test_a_frame_near_the_grid_is_the_same_in_every_window():
    ring, rng = Ring(64, joints=2), np.random.default_rng(0)
    windows = []
    for index, delay_ms in enumerate(rng.uniform(-0.9, 0.9, 20)):
        at_ms = 20 * index + delay_ms
        if index not in (7, 12):
            xy = rng.uniform(0, 640, (2, 2)).astype(np.float32)
            ring.push(xy, np.ones(2, np.float32), round(at_ms * MS))
            windows.append(window_from(ring, 6))
    rows = {row.tobytes() for window in windows for row in window.keypoints}
    assert len(rows) == 20


def test_only_a_missing_frame_is_interpolated():
    times = [0, 21, 40, 81, 100]
    result = window_from(ring_of(times), 6)
    assert result.keypoints[:, 0, 0].tolist() == [0, 21, 40, 60.5, 81, 100]
    assert result.captured_ns.tolist() == [round(at * MS) for at in (0, 21, 40, 60.5, 81, 100)]
    assert result.origin.tolist() == [OBSERVED] * 3 + [INTERPOLATED] + [OBSERVED] * 2


def test_a_camera_at_half_the_rate_has_every_second_point():
    result = window_from(ring_of([0, 40.5, 80, 121]), 7)
    assert result.keypoints[:, 0, 0].tolist() == [0, 20.25, 40.5, 60.25, 80, 100.5, 121]
    assert result.origin.tolist() == [OBSERVED, *[INTERPOLATED, OBSERVED] * 3]


def test_points_before_the_first_frame_near_the_grid_are_padded():
    result = window_from(ring_of([50, 71]), 5)
    assert result.origin.tolist() == [PADDED, PADDED, PADDED, OBSERVED, OBSERVED]
    assert result.keypoints[:, 0, 0].tolist() == [50, 50, 50, 50, 71]
    assert result.captured_ns.tolist() == [at * MS for at in (-10, 10, 30, 50, 71)]


@pytest.mark.parametrize("times", [np.arange(20) * 20.6, [*np.arange(19) * 20.0, 383.0]])
def test_a_camera_off_the_grid_is_resampled(times):
    result = window_from(ring_of(times, capacity=80), 15)
    assert np.diff(result.captured_ns).tolist() == [STEP_NS] * 14
    np.testing.assert_allclose(result.keypoints[:, 0, 0], times[-1] - 20 * np.arange(14, -1, -1), atol=0.01)


def test_a_fast_camera_is_resampled_when_poses_before_its_frames_are_needed():
    ring = ring_of(np.arange(60) * 19.7, capacity=80)
    first_ms = 19.7 * 39
    assert window_from(ring, 21, first_ms).captured_ns[0] == round(first_ms * MS)
    assert window_from(ring, 21, first_ms - 1).captured_ns[0] == round(19.7 * 59 * MS) - 20 * STEP_NS


@settings(deadline=None)  # the first call of a busy machine takes long
@given(
    st.lists(st.tuples(st.integers(1, 200), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_any_history_gives_a_finite_window_on_the_grid(steps: list[tuple[int, bool]], frames: int):
    times = np.cumsum([step for step, _ in steps])
    result = window(ring_of(times.tolist(), [detected for _, detected in steps], capacity=80), frames)
    assert result.keypoints.shape == (frames, 2, 3)
    assert np.isfinite(result.keypoints).all()
    assert np.abs(np.diff(result.captured_ns) - STEP_NS).max(initial=0) <= STEP_NS // 10
    assert result.captured_ns[-1] == times[-1] * MS
    assert (result.keypoints[result.origin == OBSERVED][:, :, 2] > 0).all()
    assert (result.keypoints[result.origin == PREDICTED][:, :, 2] == 0).all()
    if any(detected for _, detected in steps):
        assert (np.diff(result.keypoints[:, 0, 0]) >= 0).all()  # x is the time, which never runs backwards


def test_resampling_does_not_change_the_captured_frames():
    ring = ring_of([0, 40])
    before = ring.window(2, SIZE).keypoints.copy()
    resample(ring.window(2, SIZE), 5, STEP_NS)
    np.testing.assert_array_equal(ring.window(2, SIZE).keypoints, before)


def test_points_between_frames_after_the_last_detection_are_predicted():
    ring = ring_of([0, 33.3, 66.7, 100, 133.3], detected=[True, True, True, False, False])
    assert window(ring).origin.tolist() == [INTERPOLATED, PREDICTED, PREDICTED, PREDICTED, PREDICTED]


def test_the_windows_of_a_batch_are_those_of_single_rings():
    rings = [
        ring_of(range(0, 200, 20)),  # on the grid
        ring_of([0, 33.3, 66.7, 100, 133.3]),
        ring_of([0, 33.3, 66.7], detected=[True, False, True]),
        ring_of([5]),
        ring_of(range(0, 300, 7), capacity=64),
    ]
    timing = Timing(window_step_ns=STEP_NS)
    batch = timing.windows([WindowCut(ring, SIZE, ring.count) for ring in rings], 5)
    for ring, result in zip(rings, batch, strict=True):
        alone = window(ring)
        np.testing.assert_array_equal(result.keypoints, alone.keypoints)
        np.testing.assert_array_equal(result.origin, alone.origin)
        np.testing.assert_array_equal(result.captured_ns, alone.captured_ns)
