"""A camera's intrinsics from views of a printed board, by OpenCV.

What makes them good: ten views and more, sharp, the board large in the image and tilted by 30 degrees in
different directions, near the borders too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.cameras.calibration_board import Board, CornerFinder, corner_finder
from stream.cameras.intrinsics import CameraSettings
from stream.cameras.opencv import load_cv2
from stream.errors import ConfigError
from stream.messages import F32, U8

_LEAST_VIEWS = 6
_MOST_VIEWS = 60  # more cost time and say nothing new
_LEAST_POINTS = 12
_APART = 0.02  # of the image's diagonal: views nearer than this are the same
_WORSE = 3.0  # times the median error: a view that is blurred, or where corners were mistaken
_LEAST_CERTAIN = 0.02  # a focal length less certain than this is none
_FOCAL = (0.15, 8.0)  # of the longer side: 147 to 7 degrees; what comes out beyond was never determined


@dataclass(frozen=True, slots=True)
class Calibration:
    """error_px: root mean square distance of corners from where the intrinsics put them; focal_sd_px: how
    uncertain the focal length is; views: how many counted, of the images in which the board was looked for.
    """

    camera: CameraSettings
    error_px: float
    focal_sd_px: float
    views: int
    images: int


@dataclass(frozen=True, slots=True)
class _View:
    """Points of the board (N, 3) float32 mm, where they are seen (N, 2) px, its outline there (4, 2)."""

    points: F32
    pixels: F32
    outline: F32


def calibrate(images: Iterable[U8], board: Board) -> Calibration:
    """Intrinsics of the camera that took these images of `board`; raises ConfigError when they do not say."""
    cv2 = load_cv2()
    find = corner_finder(cv2, board)
    size_wh: tuple[int, int] | None = None
    views: list[_View] = []
    apart, looked, seen = _APART, 0, 0
    for image in images:
        looked += 1
        here = (image.shape[1], image.shape[0])
        size_wh = size_wh or here
        if here != size_wh:
            raise ConfigError(f"expected images of one size, got {size_wh} and {here}; calibrate each alone")
        view = _look(cv2, find, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), board)
        seen += view is not None
        if view is not None and _is_new(view, views, apart, size_wh):
            views.append(view)
        while len(views) > _MOST_VIEWS:
            apart *= 1.5
            views = _thinned(views, apart, size_wh)
    if size_wh is None or len(views) < _LEAST_VIEWS:
        raise ConfigError(
            f"expected at least {_LEAST_VIEWS} different views of the board, got {len(views)} "
            f"(it was found in {seen} of {looked} images); show it flat and lit evenly, in many places and "
            "tilts, and check the numbers: a chessboard counts its inner corners, charuco its squares"
        )
    return _solve(cv2, views, size_wh, looked)


def _solve(cv2: Any, views: list[_View], size_wh: tuple[int, int], looked: int) -> Calibration:
    """Intrinsics from all views, and again without those that do not fit."""
    error, matrix, distortion, deviations, errors = _fit(cv2, views, size_wh)
    fitting = [view for view, each in zip(views, errors, strict=True) if each <= _WORSE * np.median(errors)]
    if _LEAST_VIEWS <= len(fitting) < len(views):
        views = fitting
        error, matrix, distortion, deviations, _ = _fit(cv2, views, size_wh)
    (fx, fy), (cx, cy) = np.diag(matrix)[:2], matrix[:2, 2]
    focal_sd = float(max(deviations[:2]))
    if not (focal_sd < _LEAST_CERTAIN * fx and _FOCAL[0] < fx / max(size_wh) < _FOCAL[1]):
        raise ConfigError(
            f"the views do not determine the focal length ({fx:.0f} ± {focal_sd:.0f} px); tilt the board "
            "by 30 degrees and more, in different directions, and keep it flat and large in the image"
        )
    values = [round(float(value), 3) for value in (fx, fy, cx, cy)]
    bent = tuple(round(float(value), 6) for value in distortion[:4])
    camera = CameraSettings(
        size_wh=size_wh, fx=values[0], fy=values[1], cx=values[2], cy=values[3], distortion=bent
    )
    return Calibration(camera, error, focal_sd, len(views), looked)


def _fit(cv2: Any, views: list[_View], size_wh: tuple[int, int]) -> tuple[float, Any, Any, Any, Any]:
    """Error px, matrix (3, 3), distortion, deviations of fx fy ..., error of each view px."""
    # A third radial coefficient follows noise where no corner was seen.
    error, matrix, distortion, _, _, deviations, _, errors = cv2.calibrateCameraExtended(
        [view.points for view in views],
        [view.pixels for view in views],
        size_wh,
        None,
        None,
        flags=cv2.CALIB_FIX_K3,
    )
    return error, matrix, distortion.ravel(), deviations.ravel(), errors.ravel()


def _look(cv2: Any, find: CornerFinder, grey: U8, board: Board) -> _View | None:
    found = find(grey)
    if found is None or len(found[0]) < _LEAST_POINTS:
        return None
    points, pixels = found
    plane, _ = cv2.findHomography(points[:, :2], pixels)
    if plane is None:
        return None
    corners = board.square_mm * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (board.columns, board.rows)
    outline = cv2.perspectiveTransform(corners[None].astype(np.float32), plane)[0]
    return _View(points, pixels, outline)


def _is_new(view: _View, views: list[_View], apart: float, size_wh: tuple[int, int]) -> bool:
    least_px = apart * float(np.hypot(*size_wh))
    return all(np.linalg.norm(view.outline - other.outline, axis=1).mean() >= least_px for other in views)


def _thinned(views: list[_View], apart: float, size_wh: tuple[int, int]) -> list[_View]:
    kept: list[_View] = []
    for view in views:
        if _is_new(view, kept, apart, size_wh):
            kept.append(view)
    return kept
