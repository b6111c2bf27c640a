import numpy as np

from stream.messages import JointOrigin
from stream.windows.fill_gaps import fill_gaps

OBSERVED, INTERPOLATED, PREDICTED = JointOrigin.OBSERVED, JointOrigin.INTERPOLATED, JointOrigin.PREDICTED


def keypoints(*xs: list[float]) -> np.ndarray:
    """(F, J, 3): frames of joints with x = y and score 1, missing where x is NaN."""
    x = np.array(xs, np.float32)
    return np.stack([x, x, np.where(np.isnan(x), np.nan, 1).astype(np.float32)], axis=2)


def filled(window: np.ndarray, times: list[int]) -> tuple[list, list, list]:
    """x and score per frame, and origins, after filling."""
    origin = fill_gaps(window, np.array(times, np.int64))
    return window[..., 0].tolist(), window[..., 2].tolist(), origin.tolist()


def test_a_missing_joint_is_interpolated_in_time_with_score_0():
    window = keypoints([0, 0], [np.nan, 1], [40, 2])
    assert filled(window, [0, 30, 40]) == (
        [[0, 0], [30, 1], [40, 2]],
        [[1, 1], [0, 1], [1, 1]],
        [OBSERVED] * 3,
    )


def test_ends_are_held():
    window = keypoints([np.nan], [5], [np.nan])
    assert filled(window, [0, 10, 20]) == ([[5]] * 3, [[0], [1], [0]], [INTERPOLATED, OBSERVED, PREDICTED])


def test_a_joint_never_detected_is_put_at_the_body_centre_interpolated_over_empty_frames():
    nan = np.nan
    window = keypoints([0, 10, nan], [nan, nan, nan], [20, 30, nan])
    xs, scores, origin = filled(window, [0, 10, 20])
    assert [row[2] for row in xs] == [5, 15, 25]
    assert [row[2] for row in scores] == [0, 0, 0]
    assert origin == [OBSERVED, INTERPOLATED, OBSERVED]


def test_a_window_without_any_detection_is_predicted_at_the_origin():
    assert filled(keypoints([np.nan], [np.nan]), [0, 10]) == ([[0]] * 2, [[0]] * 2, [PREDICTED] * 2)
