"""A lifter sees what a known camera sees as the camera it takes every one for would."""

import numpy as np
import torch

from lifter import normalise
from lifter.spec import ASSUMED_FOCAL, LifterSpec
from stream.cameras.intrinsics import CameraSettings
from stream.cameras.registry import Cameras
from stream.messages import Window

SIZE = (1280, 720)
WIDE = CameraSettings(size_wh=SIZE, fx=600.0, fy=610.0, cx=650.0, cy=340.0)
CAMERAS = Cameras({"door": WIDE})
SPEC = LifterSpec(name="x", frames=9, in_channels=3, normalise="person")


def window(xyz: np.ndarray, fx: float, fy: float, cx: float, cy: float) -> Window:
    """What a camera sees of points (F, J, 3) in its axes."""
    xy = xyz[..., :2] / xyz[..., 2:] * [fx, fy] + [cx, cy]
    keypoints = np.concatenate([xy, np.full((*xy.shape[:2], 1), 0.9)], axis=-1).astype(np.float32)
    return Window(keypoints, np.ones(len(xyz), np.uint8), np.arange(len(xyz)), SIZE)


def person() -> np.ndarray:
    """A person (9, 17, 3) who walks at the right of the image."""
    pose = np.random.default_rng(4).normal(scale=0.3, size=(17, 3))
    return pose + np.array([1.5, 0.2, 4.0]) + 0.03 * np.arange(9)[:, None, None] * np.array([1, 0, 0])


def test_a_calibrated_camera_s_window_is_what_the_assumed_camera_would_see():
    focal_px = ASSUMED_FOCAL * 1280
    seen = window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy)
    expected = window(person(), focal_px, focal_px, 640, 360)
    assert SPEC.focal == ASSUMED_FOCAL
    moved = CAMERAS.to_assumed("door", seen, SPEC.focal)
    np.testing.assert_allclose(moved.keypoints, expected.keypoints, atol=1e-2)
    assert moved.keypoints.dtype == np.float32
    np.testing.assert_array_equal(
        seen.keypoints, window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy).keypoints
    )
    # The lifter then turns to where the person truly is.
    answer = torch.zeros(1, 9, 17, 3)
    answer[..., 2] = torch.arange(17.0)  # straight ahead of the virtual camera
    _, context = normalise.encode(torch.from_numpy(moved.keypoints[None]), torch.tensor([SIZE]).float(), SPEC)
    ahead = normalise.decode(answer, context)[0, :, 1].numpy()
    root = person().mean(axis=1)
    cosine = (ahead * root).sum(axis=1) / np.linalg.norm(root, axis=1)
    assert (np.degrees(np.arccos(cosine)) < 3).all()


def test_images_of_another_size_are_seen_by_the_same_camera():
    small = window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy)
    halved = Window(small.keypoints * np.float32([0.5, 0.5, 1]), small.origin, small.captured_ns, (640, 360))
    whole, half = (
        CAMERAS.to_assumed("door", each, ASSUMED_FOCAL).keypoints[..., :2] for each in (small, halved)
    )
    np.testing.assert_allclose(
        half, whole / 2, atol=0.6
    )  # the corner of the first pixel stays, not its centre


def test_a_field_of_view_that_was_given_counts_like_a_calibration():
    seen = window(person(), 640, 640, 639.5, 359.5)  # 90 degrees
    moved = Cameras({}, fov_deg=90).to_assumed("any", seen, ASSUMED_FOCAL)
    expected = window(person(), ASSUMED_FOCAL * 1280, ASSUMED_FOCAL * 1280, 640, 360)
    np.testing.assert_allclose(moved.keypoints, expected.keypoints, atol=1e-2)


def test_of_an_unknown_camera_nothing_changes():
    seen = window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy)
    assert CAMERAS.to_assumed("other", seen, ASSUMED_FOCAL) is seen


def test_a_lifter_that_assumes_no_camera_sees_the_pixels():
    seen = window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy)
    focal = LifterSpec(name="x", normalise="screen").focal
    assert focal is None
    assert CAMERAS.to_assumed("door", seen, focal) is seen
