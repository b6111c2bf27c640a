"""A camera's intrinsics from views of a printed board, by OpenCV.

A good calibration needs ten or more sharp views in which the board is large, tilted by 30 degrees in
different directions, and near the image borders too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.cameras.calibration_board import Board, CornerFinder, corner_finder
from stream.cameras.intrinsics import Camera
from stream.cameras.opencv import load_cv2
from stream.errors import ConfigError
from stream.messages import F32, U8

_MIN_VIEWS = 6
_MAX_VIEWS = 60  # more views cost time and add no information
_MIN_POINTS = 12
_MIN_VIEW_DISTANCE = 0.02  # of the image diagonal: views nearer to each other than this count as one
_THINNING = 1.5  # factor on that distance whenever there are too many views
_MAX_VIEW_ERROR = 3.0  # times the median error: beyond it a view is blurred or its corners are mistaken
_MAX_FOCAL_SD = 0.02  # of the focal length; a less certain one is refused
_FOCAL_RANGE = (0.15, 8.0)  # of the longer image side, 147 to 7 degrees; the views never determine others


@dataclass(frozen=True, slots=True)
class Calibration:
    """Intrinsics and how good they are.

    error_px: root mean square reprojection error of the corners; focal_sd_px: standard deviation of the focal
    length; views: how many were used; images: in how many the board was searched.
    """

    camera: Camera.Settings
    error_px: float
    focal_sd_px: float
    views: int
    images: int


@dataclass(frozen=True, slots=True)
class _View:
    """Points of the board (N, 3) float32 mm, their pixels (N, 2), and the pixels of its outline (4, 2)."""

    points: F32
    pixels: F32
    outline: F32


class _Fit(NamedTuple):
    """matrix (3, 3); distortion coefficients; deviations of fx, fy ...; the error of each view in px."""

    error_px: float
    matrix: NDArray[Any]
    distortion: NDArray[Any]
    deviations: NDArray[Any]
    view_errors_px: NDArray[Any]


def calibrate(images: Iterable[U8], board: Board) -> Calibration:
    """Intrinsics of the camera that took these images, (H, W, 3) uint8 RGB, of `board`.

    Raises ConfigError when the images differ in size or do not determine the intrinsics.
    """
    cv2 = load_cv2()
    find_corners = corner_finder(cv2, board)
    size_wh: tuple[int, int] | None = None
    views: list[_View] = []
    min_distance, searched, boards = _MIN_VIEW_DISTANCE, 0, 0
    for image in images:
        searched += 1
        image_wh = (image.shape[1], image.shape[0])
        size_wh = size_wh or image_wh
        if image_wh != size_wh:
            raise ConfigError(
                f"expected images of one size, got {size_wh} and {image_wh}; calibrate each size alone"
            )
        view = _view(cv2, find_corners, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), board)
        boards += view is not None
        if view is not None and _is_new(view, views, min_distance, size_wh):
            views.append(view)
        while len(views) > _MAX_VIEWS:
            min_distance *= _THINNING
            views = _thin_out(views, min_distance, size_wh)
    if size_wh is None or len(views) < _MIN_VIEWS:
        raise ConfigError(
            f"expected at least {_MIN_VIEWS} different views of the board, got {len(views)} "
            f"(it was found in {boards} of {searched} images); show it flat and evenly lit, in many "
            "positions and tilts, and check the numbers: a chessboard counts its inner corners, charuco its "
            "squares"
        )
    return _solve(cv2, views, size_wh, searched)


def _solve(cv2: Any, views: list[_View], size_wh: tuple[int, int], images: int) -> Calibration:
    """Intrinsics from all views, and again without those of large error."""
    fit = _fit(cv2, views, size_wh)
    max_error_px = _MAX_VIEW_ERROR * np.median(fit.view_errors_px)
    good = [view for view, error in zip(views, fit.view_errors_px, strict=True) if error <= max_error_px]
    if _MIN_VIEWS <= len(good) < len(views):
        views = good
        fit = _fit(cv2, views, size_wh)
    (fx, fy), (cx, cy) = np.diag(fit.matrix)[:2], fit.matrix[:2, 2]
    focal_sd = float(max(fit.deviations[:2]))
    if not (focal_sd < _MAX_FOCAL_SD * fx and _FOCAL_RANGE[0] < fx / max(size_wh) < _FOCAL_RANGE[1]):
        raise ConfigError(
            f"the views do not determine the focal length ({fx:.0f} ± {focal_sd:.0f} px); tilt the board "
            "by 30 degrees and more, in different directions, and keep it flat and large in the image"
        )
    fx, fy, cx, cy = (round(float(value), 3) for value in (fx, fy, cx, cy))
    distortion = tuple(round(float(value), 6) for value in fit.distortion[:4])
    camera = Camera.Settings(size_wh=size_wh, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion)
    return Calibration(camera, fit.error_px, focal_sd, len(views), images)


def _fit(cv2: Any, views: list[_View], size_wh: tuple[int, int]) -> _Fit:
    # A third radial coefficient would fit noise where no view has corners.
    error_px, matrix, distortion, _, _, deviations, _, errors = cv2.calibrateCameraExtended(
        [view.points for view in views],
        [view.pixels for view in views],
        size_wh,
        None,
        None,
        flags=cv2.CALIB_FIX_K3,
    )
    return _Fit(error_px, matrix, distortion.ravel(), deviations.ravel(), errors.ravel())


def _view(cv2: Any, find_corners: CornerFinder, grey: U8, board: Board) -> _View | None:
    """The view of the board in an image (H, W) uint8; None when too little of it is found."""
    corners = find_corners(grey)
    if corners is None or len(corners[0]) < _MIN_POINTS:
        return None
    points, pixels = corners
    homography, _ = cv2.findHomography(points[:, :2], pixels)
    if homography is None:
        return None
    outline_mm = board.square_mm * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (board.columns, board.rows)
    outline = cv2.perspectiveTransform(outline_mm[None].astype(np.float32), homography)[0]
    return _View(points, pixels, outline)


def _is_new(view: _View, views: list[_View], min_distance: float, size_wh: tuple[int, int]) -> bool:
    min_px = min_distance * float(np.hypot(*size_wh))
    return all(np.linalg.norm(view.outline - other.outline, axis=1).mean() >= min_px for other in views)


def _thin_out(views: list[_View], min_distance: float, size_wh: tuple[int, int]) -> list[_View]:
    """The views that are at least `min_distance` of the image diagonal apart."""
    distinct: list[_View] = []
    for view in views:
        if _is_new(view, distinct, min_distance, size_wh):
            distinct.append(view)
    return distinct
