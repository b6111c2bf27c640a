"""Printed calibration boards, and the search for their corners in images."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError
from stream.messages import F32, U8

# Maps an image (H, W) uint8 to points of the board (N, 3) float32 mm and their pixels (N, 2) float32, or to
# None when the board is not found.
CornerFinder = Callable[[U8], tuple[F32, F32] | None]


@dataclass(frozen=True, slots=True)
class Board:
    """A printed board: a chessboard of columns x rows inner corners, or a charuco board of squares."""

    kind: Literal["chessboard", "charuco"]
    columns: int
    rows: int
    square_mm: float
    marker_mm: float = 0.0
    dictionary: str = "4X4_50"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `chessboard:9x6:25mm` or `charuco:5x7:40mm:30mm:4X4_50` (square, marker, their dictionary).

        Raises ConfigError for any other text and for impossible sizes.
        """
        size = r"(\d+)x(\d+):([\d.]+)mm"
        chessboard = re.fullmatch(rf"chessboard:{size}", text)
        charuco = re.fullmatch(rf"charuco:{size}:([\d.]+)mm(?::(\w+))?", text)
        match = chessboard or charuco
        try:
            if match is None:
                raise ValueError
            columns, rows, square_mm = int(match[1]), int(match[2]), float(match[3])
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
    """A function that finds `board` in images: the whole of a chessboard or any part of a charuco board.

    Raises ConfigError for an unknown dictionary of markers.
    """
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
        names = ", ".join(sorted(name[5:] for name in dir(cv2.aruco) if name.startswith("DICT_")))
        raise ConfigError(f"board: expected a dictionary of markers, one of {names}; got {board.dictionary}")
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))
    charuco_board = cv2.aruco.CharucoBoard(
        (board.columns, board.rows), board.square_mm, board.marker_mm, dictionary
    )
    detector = cv2.aruco.CharucoDetector(charuco_board)

    def find(grey: U8) -> tuple[F32, F32] | None:
        corners, ids, _, _ = detector.detectBoard(grey)
        if ids is None or len(ids) == 0 or charuco_board.checkCharucoCornersCollinear(ids):
            return None
        points, pixels = charuco_board.matchImagePoints(corners, ids)
        return points.reshape(-1, 3), pixels.reshape(-1, 2)

    return find
