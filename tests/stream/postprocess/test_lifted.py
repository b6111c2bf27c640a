import numpy as np

from stream.messages import JointOrigin, Window
from stream.postprocess.lifted import LiftedWindow

OBSERVED, INTERPOLATED, PREDICTED = JointOrigin.OBSERVED, JointOrigin.INTERPOLATED, JointOrigin.PREDICTED


def lifted(score, times=None, captured: Window | None = None) -> LiftedWindow:
    """Frame f has all coordinates of keypoints and poses at f; score (F, J)."""
    score = np.array(score, np.float32)
    frames, joints = score.shape
    coordinates = np.arange(frames, dtype=np.float32)[:, None, None]
    poses = np.broadcast_to(coordinates, (frames, joints, 3)).copy()
    keypoints = poses.copy()
    keypoints[..., 2] = score
    times_ns = np.array(range(frames) if times is None else times, np.int64)
    origin = np.ones(frames, np.uint8)
    return LiftedWindow(Window(keypoints, origin, times_ns, (640, 480), captured), poses)


def test_each_joint_has_its_own_origin():
    window = lifted([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    assert window.keypoints(1)[1].tolist() == [OBSERVED, INTERPOLATED, PREDICTED, PREDICTED]
    assert window.keypoints(2)[1].tolist() == [OBSERVED, OBSERVED, PREDICTED, PREDICTED]


def test_at_a_captured_time_keypoints_and_pose_are_those_of_the_frame():
    window = lifted([[0.5], [0.75], [1]], times=[0, 100, 200])
    assert window.keypoints(100)[0].tolist() == [[1, 1, 0.75]]
    assert window.pose(100).tolist() == [[1, 1, 1]]


def test_between_two_frames_no_joint_is_observed():
    window = lifted([[1, 1, 1], [0.5, 0, 1], [1, 0, 0]], times=[0, 100, 200])
    keypoints, origin = window.keypoints(25)
    assert origin.tolist() == [INTERPOLATED, PREDICTED, INTERPOLATED]
    assert keypoints.tolist() == [[0.25, 0.25, 0.5], [0.25, 0.25, 0], [0.25, 0.25, 1]]
    assert window.keypoints(150)[1].tolist() == [INTERPOLATED, PREDICTED, PREDICTED]
    assert window.pose(150).tolist() == [[1.5] * 3] * 3


def test_after_the_newest_frame_the_last_pose_is_held_and_predicted():
    window = lifted([[1], [1]], times=[0, 100])
    keypoints, origin = window.keypoints(180)
    assert (keypoints.tolist(), origin.tolist()) == ([[1, 1, 0]], [PREDICTED])
    assert window.pose(180).tolist() == [[1, 1, 1]]


def test_poses_on_the_lifters_grid_are_interpolated_at_captured_times():
    captured = lifted([[0.5], [0.75]], times=[7, 40]).window
    window = lifted([[1], [1], [1]], times=[0, 20, 40], captured=captured)
    assert window.pose(7).tolist() == [[np.float32(0.35)] * 3]
    keypoints, origin = window.keypoints(7)
    assert (keypoints.tolist(), origin.tolist()) == ([[0, 0, 0.5]], [OBSERVED])


def test_padded_frames_are_counted():
    window = lifted([[1], [1], [1]]).window
    window.origin[:2] = JointOrigin.PADDED
    assert LiftedWindow(window, np.zeros((3, 17, 3), np.float32)).padded == 2
