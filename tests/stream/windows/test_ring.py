import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import ShapeError
from stream.messages import JointOrigin
from stream.windows.ring import Ring

SIZE = (640, 480)


def frame(value: float, joints: int = 2) -> tuple[np.ndarray, np.ndarray]:
    return np.full((joints, 2), value, np.float32), np.ones(joints, np.float32)


def ring_of(values: list[float | None], capacity: int = 16) -> Ring:
    ring = Ring(capacity, joints=2)
    for time, value in enumerate(values):
        ring.push_gap(time) if value is None else ring.push(*frame(value), time)
    return ring


def test_a_window_has_the_last_frames_oldest_first():
    window = ring_of([0, 1, 2, 3, 4]).window(3, SIZE)
    assert window.keypoints[:, 0, 0].tolist() == [2, 3, 4]
    assert window.captured_ns.tolist() == [2, 3, 4]
    assert window.origin.tolist() == [JointOrigin.OBSERVED] * 3


def test_a_short_history_is_padded_with_its_first_frame():
    window = ring_of([5, 6]).window(4, SIZE)
    assert window.keypoints[:, 1, 1].tolist() == [5, 5, 5, 6]
    assert window.origin.tolist() == [
        JointOrigin.PADDED,
        JointOrigin.PADDED,
        JointOrigin.OBSERVED,
        JointOrigin.OBSERVED,
    ]


def test_a_gap_is_interpolated_with_score_0_and_marked():
    window = ring_of([0, None, None, 3]).window(4, SIZE)
    assert window.keypoints[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert window.keypoints[:, 0, 2].tolist() == [1, 0, 0, 1]
    assert window.origin.tolist() == [
        JointOrigin.OBSERVED,
        JointOrigin.INTERPOLATED,
        JointOrigin.INTERPOLATED,
        JointOrigin.OBSERVED,
    ]


def test_after_the_last_detection_keypoints_are_held_and_marked_predicted():
    window = ring_of([1, 2, None, None]).window(4, SIZE)
    assert window.keypoints[:, 0, 0].tolist() == [1, 2, 2, 2]
    assert window.origin.tolist() == [1, 1, JointOrigin.PREDICTED, JointOrigin.PREDICTED]


def test_one_missing_joint_does_not_change_the_others():
    ring = Ring(8, joints=2)
    for time in range(3):
        xy, score = frame(time)
        if time == 1:
            xy[0], score[0] = np.nan, 0
        ring.push(xy, score, time)
    window = ring.window(3, SIZE)
    assert window.keypoints[:, :, 0].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert window.keypoints[:, :, 2].tolist() == [[1, 1], [0, 1], [1, 1]]
    assert window.origin.tolist() == [JointOrigin.OBSERVED] * 3


def test_a_joint_never_detected_is_put_at_the_body_centre_with_score_0():
    ring = Ring(8, joints=3)
    ring.push(np.array([[0, 0], [10, 20], [np.nan, np.nan]], np.float32), np.array([1, 1, 0], np.float32), 0)
    assert ring.window(1, SIZE).keypoints[0, 2].tolist() == [5, 10, 0]


def test_since_returns_the_frames_of_a_time_span_and_the_frame_before():
    ring = ring_of([0, 1, 2, None, 4, 5])
    assert ring.since(2, 10, SIZE).captured_ns.tolist() == [3, 4, 5]
    assert ring.since(2, 10, SIZE, end=3).captured_ns.tolist() == [0, 1, 2]
    assert ring.since(100, 10, SIZE).captured_ns.tolist() == [0, 1, 2, 3, 4, 5]
    assert ring.since(100, 2, SIZE).captured_ns.tolist() == [4, 5]


def test_a_gap_is_filled_by_time_and_not_by_frame_number():
    ring = Ring(8, joints=2)
    for time, value in ((0, 0), (30, None), (40, 40)):
        ring.push_gap(time) if value is None else ring.push(*frame(value), time)
    assert ring.window(3, SIZE).keypoints[:, 0, 0].tolist() == [0, 30, 40]


def test_overwritten_frames_are_refused():
    ring = ring_of(list(range(10)), capacity=4)
    with pytest.raises(ShapeError, match="overwritten"):
        ring.window(3, SIZE, end=5)


def test_the_frame_that_the_writer_overwrites_next_is_refused():
    """A writer may be filling the slot of the oldest frame while a reader copies it."""
    ring = ring_of(list(range(10)), capacity=4)
    with pytest.raises(ShapeError, match="frames from 6 were overwritten"):
        ring.window(3, SIZE, end=9)
    assert ring.window(3, SIZE, end=10).captured_ns.tolist() == [7, 8, 9]


def test_a_window_longer_than_the_ring_is_refused():
    with pytest.raises(ShapeError, match="at most 3 frames"):
        ring_of([1, 2], capacity=4).window(4, SIZE)


def test_another_joint_count_is_refused():
    with pytest.raises(ShapeError, match=r"expected xy \(2, 2\)"):
        Ring(4, joints=2).push(*frame(0, joints=3), 0)


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 100, width=32)), min_size=1, max_size=40), st.integers(1, 15)
)
def test_any_history_gives_a_finite_window_of_the_requested_length(values: list[float | None], frames: int):
    window = ring_of(values).window(frames, SIZE)
    assert window.keypoints.shape == (frames, 2, 3)
    assert np.isfinite(window.keypoints).all()
    history = values[-frames:]
    assert window.captured_ns[-len(history) :].tolist() == list(range(len(values)))[-frames:]
    for offset, value in enumerate(reversed(history), start=1):
        if value is not None:
            assert window.keypoints[-offset, 0].tolist() == [np.float32(value)] * 2 + [1.0]
            assert window.origin[-offset] == JointOrigin.OBSERVED


def test_readers_never_get_a_torn_or_stale_frame_while_the_writer_runs():
    ring = Ring(64, joints=2)
    stop = threading.Event()
    torn: list[str] = []
    windows_read = [0, 0]

    def reader(index: int) -> None:
        while not stop.is_set():
            if ring.count == 0:
                continue
            try:
                window = ring.window(32, SIZE)
            except ShapeError:
                continue  # overwritten by the writer during the copy
            times = window.captured_ns[window.origin != JointOrigin.PADDED]
            values = window.keypoints[window.origin != JointOrigin.PADDED]
            if not (values[..., 0] == times[:, None]).all() or not (np.diff(times) == 1).all():
                torn.append(f"{times} {values[:, 0, 0]}")
            windows_read[index] += 1

    readers = [threading.Thread(target=reader, args=(index,)) for index in range(2)]
    for thread in readers:
        thread.start()
    time = 0
    while min(windows_read) < 200 and time < 2_000_000:
        ring.push(*frame(time), time)
        time += 1
    stop.set()
    for thread in readers:
        thread.join(10.0)
    assert not torn
    assert min(windows_read) >= 200
