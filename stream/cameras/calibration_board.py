"""Printed boards whose corners a camera is calibrated by, and where they are in an image."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError
from stream.messages import F32, U8

# From an image (H, W) uint8 to points of the board (N, 3) float32 mm and where they are seen (N, 2) px.
CornerFinder = Callable[[U8], tuple[F32, F32] | None]


@dataclass(frozen=True, slots=True)
class Board:
    """What is printed: a chessboard of columns x rows inner corners, or a charuco board of squares."""

    kind: Literal["chessboard", "charuco"]
    columns: int
    rows: int
    square_mm: float
    marker_mm: float = 0.0
    dictionary: str = "4X4_50"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `chessboard:9x6:25mm` or `charuco:5x7:40mm:30mm:4X4_50` (square, marker, their dictionary)."""
        size = r"(\d+)x(\d+):([\d.]+)mm"
        chessboard = re.fullmatch(rf"chessboard:{size}", text)
        charuco = re.fullmatch(rf"charuco:{size}:([\d.]+)mm(?::(\w+))?", text)
        found = chessboard or charuco
        try:
            if found is None:
                raise ValueError
            columns, rows, square_mm = int(found[1]), int(found[2]), float(found[3])
            marker_mm = float(charuco[4]) if charuco else 0.0
        except ValueError:
            raise ConfigError(
                "board: expected chessboard:COLUMNSxROWS:SQUAREmm, counting the corners inside "
                "(chessboard:9x6:25mm has 10 x 7 squares), or charuco:COLUMNSxROWS:SQUAREmm:MARKERmm, "
                f"counting squares (charuco:5x7:40mm:30mm), got {text!r}"
            ) from None
        if min(columns, rows) < 3 or square_mm <= 0 or (charuco and not 0 < marker_mm < square_mm):
            raise ConfigError(
                f"board: expected 3 x 3 or more, and markers smaller than their squares, got {text!r}"
            )
        if charuco is None:
            return cls("chessboard", columns, rows, square_mm)
        return cls("charuco", columns, rows, square_mm, marker_mm, (charuco[5] or "4X4_50").upper())


def corner_finder(cv2: Any, board: Board) -> CornerFinder:
    """What finds `board` in images, all of a chessboard or any part of a charuco board."""
    return _chessboard(cv2, board) if board.kind == "chessboard" else _charuco(cv2, board)


def _chessboard(cv2: Any, board: Board) -> CornerFinder:
    columns, rows = board.columns, board.rows
    grid: NDArray[Any] = np.stack([*np.meshgrid(range(columns), range(rows)), np.zeros((rows, columns))], -1)
    points = (board.square_mm * grid.reshape(-1, 3)).astype(np.float32)

    def find(grey: U8) -> tuple[F32, F32] | None:
        flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
        found, pixels = cv2.findChessboardCornersSB(grey, (columns, rows), flags=flags)
        return (points, pixels.reshape(-1, 2)) if found else None

    return find


def _charuco(cv2: Any, board: Board) -> CornerFinder:
    name = f"DICT_{board.dictionary}"
    if not hasattr(cv2.aruco, name):
        known = ", ".join(sorted(each[5:] for each in dir(cv2.aruco) if each.startswith("DICT_")))
        raise ConfigError(f"board: expected a dictionary of markers, one of {known}; got {board.dictionary}")
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))
    printed = cv2.aruco.CharucoBoard(
        (board.columns, board.rows), board.square_mm, board.marker_mm, dictionary
    )
    detector = cv2.aruco.CharucoDetector(printed)

    def find(grey: U8) -> tuple[F32, F32] | None:
        corners, ids, _, _ = detector.detectBoard(grey)
        if ids is None or len(ids) == 0 or printed.checkCharucoCornersCollinear(ids):
            return None
        points, pixels = printed.matchImagePoints(corners, ids)
        return points.reshape(-1, 3), pixels.reshape(-1, 2)

    return find
