"""Cameras of a run, and the re-projection of their keypoints into the camera that the lifter assumes."""

import numpy as np
import torch

from lifter import normalise
from lifter.spec import ASSUMED_FOCAL, LifterSpec
from stream.cameras.intrinsics import Camera
from stream.cameras.registry import Cameras
from stream.messages import Window

SIZE_WH = (1280, 720)
WIDE = Camera.Settings(size_wh=SIZE_WH, fx=600.0, fy=610.0, cx=650.0, cy=340.0)
CAMERAS = Cameras({"door": WIDE})
SPEC = LifterSpec(name="x", frames=9, in_channels=3, normalise="person")


def window(xyz: np.ndarray, fx: float, fy: float, cx: float, cy: float) -> Window:
    """The window of points (F, J, 3) in camera axes, projected with these intrinsics."""
    xy = xyz[..., :2] / xyz[..., 2:] * [fx, fy] + [cx, cy]
    keypoints = np.concatenate([xy, np.full((*xy.shape[:2], 1), 0.9)], axis=-1).astype(np.float32)
    return Window(keypoints, np.ones(len(xyz), np.uint8), np.arange(len(xyz)), SIZE_WH)


def person() -> np.ndarray:
    """A person (9, 17, 3) in camera axes who walks at the right of the image."""
    pose = np.random.default_rng(4).normal(scale=0.3, size=(17, 3))
    return pose + np.array([1.5, 0.2, 4.0]) + 0.03 * np.arange(9)[:, None, None] * np.array([1, 0, 0])


def test_keypoints_of_a_calibrated_camera_are_those_that_the_assumed_camera_would_see():
    focal_px = ASSUMED_FOCAL * 1280
    captured = window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy)
    expected = window(person(), focal_px, focal_px, 640, 360)
    assert SPEC.focal == ASSUMED_FOCAL
    moved = CAMERAS.to_assumed("door", captured, SPEC.focal)
    np.testing.assert_allclose(moved.keypoints, expected.keypoints, atol=1e-2)
    assert moved.keypoints.dtype == np.float32
    np.testing.assert_array_equal(
        captured.keypoints, window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy).keypoints
    )
    # A pose straight ahead of the lifter's camera then lies in the true direction of the person.
    lifted = torch.zeros(1, 9, 17, 3)
    lifted[..., 2] = torch.arange(17.0)
    _, context = normalise.encode(
        torch.from_numpy(moved.keypoints[None]), torch.tensor([SIZE_WH]).float(), SPEC
    )
    ahead = normalise.decode(lifted, context)[0, :, 1].numpy()
    root = person().mean(axis=1)
    cosine = (ahead * root).sum(axis=1) / np.linalg.norm(root, axis=1)
    assert (np.degrees(np.arccos(cosine)) < 3).all()


def test_images_of_another_size_have_the_same_camera():
    large = window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy)
    halved = Window(large.keypoints * np.float32([0.5, 0.5, 1]), large.origin, large.captured_ns, (640, 360))
    full, half = (
        CAMERAS.to_assumed("door", each, ASSUMED_FOCAL).keypoints[..., :2] for each in (large, halved)
    )
    # Half a pixel of tolerance: scaling keeps the corner of the first pixel in place, not its centre.
    np.testing.assert_allclose(half, full / 2, atol=0.6)


def test_a_configured_field_of_view_counts_like_a_calibration():
    captured = window(person(), 640, 640, 639.5, 359.5)  # 90 degrees
    moved = Cameras({}, fov_deg=90).to_assumed("any", captured, ASSUMED_FOCAL)
    expected = window(person(), ASSUMED_FOCAL * 1280, ASSUMED_FOCAL * 1280, 640, 360)
    np.testing.assert_allclose(moved.keypoints, expected.keypoints, atol=1e-2)


def test_the_window_of_an_uncalibrated_camera_is_unchanged():
    captured = window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy)
    assert CAMERAS.to_assumed("other", captured, ASSUMED_FOCAL) is captured


def test_a_lifter_without_an_assumed_camera_gets_the_pixels():
    captured = window(person(), WIDE.fx, WIDE.fy, WIDE.cx, WIDE.cy)
    focal = LifterSpec(name="x", normalise="screen").focal
    assert focal is None
    assert CAMERAS.to_assumed("door", captured, focal) is captured
