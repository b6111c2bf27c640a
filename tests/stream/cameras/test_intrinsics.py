import numpy as np
import pytest

from stream.camera_info import Intrinsics
from stream.cameras.intrinsics import Camera, batch_rays
from stream.errors import ConfigError

SIZE_WH = (1280, 720)
SETTINGS = Camera.Settings(size_wh=SIZE_WH, fx=1000, fy=1000, cx=640, cy=360)
DISTORTED = Camera((1000.0, 1000.0), (640.0, 360.0), (-0.3, 0.1, 0.001, -0.002))


def test_the_field_of_view_is_along_the_longer_side():
    assert Camera.from_fov(90, (1280, 720)).focal == pytest.approx((640, 640))
    assert Camera.from_fov(90, (720, 1280)).focal == pytest.approx((640, 640))


def test_intrinsics_scale_with_the_size_of_the_image():
    half = Camera.from_calibration(SETTINGS, (640, 360))
    corners = np.array([[-0.5, -0.5], [319.75, 179.75]], np.float32)
    assert half.focal == (500, 500)
    assert half.rays(corners) == pytest.approx(
        Camera.from_calibration(SETTINGS, SIZE_WH).rays(corners * 2 + 0.5)
    )


def test_images_of_another_aspect_ratio_are_refused():
    with pytest.raises(ConfigError, match=r"aspect ratio of 1280x720.*got 640x480"):
        Camera.from_calibration(SETTINGS, (640, 480))


@pytest.mark.parametrize(("name", "value"), [("fx", 0), ("size_wh", (0, 720)), ("distortion", (0.1,) * 3)])
def test_impossible_intrinsics_are_refused(name: str, value: object):
    values = {"size_wh": SIZE_WH, "fx": 1000, "fy": 1000, "cx": 640, "cy": 360}
    with pytest.raises(ConfigError, match=name):
        Camera.Settings(**(values | {name: value}))


def test_published_intrinsics_tell_calibrated_from_assumed_cameras():
    calibrated = Camera.from_calibration(SETTINGS, SIZE_WH).intrinsics
    assert calibrated == Intrinsics("calibrated", 1000, 1000, 640, 360)
    assert Camera.from_fov(90, SIZE_WH).intrinsics.status == "assumed"


def test_a_pixel_of_a_point_has_the_ray_through_that_point():
    camera = Camera.from_calibration(SETTINGS, SIZE_WH)
    points = np.array([[0.0, 0, 2], [1, -0.5, 4]])
    assert camera.project(points).tolist() == [[640, 360], [890, 235]]
    assert camera.rays(camera.project(points).astype(np.float32)).tolist() == [[0, 0], [0.25, -0.125]]


def test_a_point_behind_the_camera_has_no_pixel():
    assert np.isnan(Camera.from_fov(90, SIZE_WH).project(np.array([0.0, 0, -1]))).all()


def test_rays_undo_the_distortion_and_keep_nan():
    cv2 = pytest.importorskip("cv2")
    points = np.array([[0.5, 0.3, 2.0], [-0.8, 0.4, 3.0]])
    matrix = np.array([[1000.0, 0, 640], [0, 1000, 360], [0, 0, 1]])
    xy = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array(DISTORTED.distortion))[0][:, 0]
    rays = DISTORTED.rays(np.concatenate([xy, [[np.nan, np.nan]]]).astype(np.float32))
    np.testing.assert_allclose(rays[:2], points[:, :2] / points[:, 2:], atol=1e-4)
    assert np.isnan(rays[2]).all()


def test_rays_of_a_batch_are_those_of_each_camera():
    pytest.importorskip("cv2")
    xy = np.random.default_rng(0).uniform(0, 700, (2, 5, 2)).astype(np.float32)
    cameras = [Camera.from_fov(61, SIZE_WH), DISTORTED]
    expected = [camera.rays(row) for camera, row in zip(cameras, xy, strict=True)]
    np.testing.assert_array_equal(batch_rays(cameras, xy), expected)
