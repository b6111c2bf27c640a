"""Calibration from synthetic images of boards, taken by a camera with known intrinsics."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from stream.cameras.calibration import calibrate
from stream.cameras.calibration_board import Board
from stream.cameras.intrinsics import Camera
from stream.cli.files import read_images
from stream.cli.main import main
from stream.config.load import resolve
from stream.errors import ConfigError

cv2 = pytest.importorskip("cv2")

SIZE_WH = (640, 480)
FX, FY, CX, CY = 560.0, 556.0, 330.0, 232.0
MATRIX = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
DISTORTION = (-0.18, 0.06, 0.001, -0.001)
SQUARE_MM, TEXELS = 25.0, 20  # per square
CHESSBOARD = Board.parse("chessboard:9x6:25mm")
CHARUCO = Board.parse("charuco:7x5:25mm:18mm")


def chessboard() -> np.ndarray:
    """A printed sheet (H, W) uint8 with 10 x 7 squares and a margin of one square."""
    squares = np.pad(np.indices((7, 10)).sum(axis=0) % 2 * 255, 1, constant_values=255)
    return np.kron(squares, np.ones((TEXELS, TEXELS))).astype(np.uint8)


def charuco() -> np.ndarray:
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    board = cv2.aruco.CharucoBoard((7, 5), 25.0, 18.0, dictionary)
    return np.pad(board.generateImage((7 * TEXELS, 5 * TEXELS)), TEXELS, constant_values=255)


@cache
def rays(distortion: tuple[float, ...]) -> np.ndarray:
    """Rays (H, W, 4, 3) of all pixels, four per pixel."""
    x, y = np.meshgrid(np.arange(SIZE_WH[0]), np.arange(SIZE_WH[1]))
    samples = [np.stack([x + dx, y + dy], axis=-1) for dx in (-0.25, 0.25) for dy in (-0.25, 0.25)]
    pixels = np.stack(samples, axis=2).reshape(-1, 1, 2).astype(np.float64)
    undistorted = cv2.undistortPoints(pixels, MATRIX, np.array(distortion)).reshape(*x.shape, 4, 2)
    return np.concatenate([undistorted, np.ones((*x.shape, 4, 1))], axis=-1)


def photo(
    sheet: np.ndarray, rotation_vector: tuple[float, float, float], centre_mm, distortion=DISTORTION
) -> np.ndarray:
    """Image (H, W, 3) uint8 of the sheet, rotated, with its middle at centre_mm in camera axes."""
    rotation, _ = cv2.Rodrigues(np.array(rotation_vector))
    normal = rotation[:, 2]
    directions = rays(distortion)
    hit = directions * ((np.array(centre_mm) @ normal) / (directions @ normal))[..., None]
    on_sheet = (hit - centre_mm) @ rotation[:, :2] / SQUARE_MM * TEXELS
    column, row = np.moveaxis(np.floor(on_sheet + np.array(sheet.shape[::-1]) / 2).astype(int), -1, 0)
    inside = (column >= 0) & (column < sheet.shape[1]) & (row >= 0) & (row < sheet.shape[0])
    grey = np.where(inside, sheet[row.clip(0, sheet.shape[0] - 1), column.clip(0, sheet.shape[1] - 1)], 110)
    return np.repeat(grey.mean(axis=2).astype(np.uint8)[..., None], 3, axis=2)


VIEWS = [  # rotation vector, centre in mm
    ((0.5 * np.cos(tilt), 0.5 * np.sin(tilt), spin), (40 * np.cos(3 * tilt), 30 * np.sin(2 * tilt), depth))
    for tilt, spin, depth in zip(
        np.linspace(0, 6, 12), np.linspace(-0.3, 0.3, 12), [330, 380, 430] * 4, strict=True
    )
]


@cache
def photos() -> tuple[np.ndarray, ...]:
    return tuple(photo(chessboard(), *view) for view in VIEWS)


def assert_is_the_camera(camera: Camera.Settings) -> None:
    assert camera.size_wh == SIZE_WH
    assert (camera.fx, camera.fy) == pytest.approx((FX, FY), rel=0.01)
    assert (camera.cx, camera.cy) == pytest.approx((CX, CY), abs=3)
    assert camera.distortion[0] == pytest.approx(DISTORTION[0], abs=0.02)


def test_a_chessboard_gives_the_intrinsics():
    result = calibrate(photos(), CHESSBOARD)
    assert_is_the_camera(result.camera)
    assert (result.views, result.images) == (12, 12)
    assert result.error_px < 0.2
    assert result.focal_sd_px < 0.01 * FX


def test_a_charuco_board_partly_outside_the_image_gives_the_intrinsics():
    views = [(rotation, (x * 1.5, y * 1.5, depth * 0.75)) for rotation, (x, y, depth) in VIEWS]
    result = calibrate([photo(charuco(), *view) for view in views], CHARUCO)
    assert_is_the_camera(result.camera)
    assert result.error_px < 0.4


def test_a_distorted_view_is_not_used():
    skewed = cv2.warpAffine(photo(chessboard(), *VIEWS[0]), np.array([[1, 0.03, -5], [0, 1.04, 0]]), SIZE_WH)
    result = calibrate([*photos()[1:], skewed], CHESSBOARD)
    assert_is_the_camera(result.camera)
    assert (result.views, result.images) == (11, 12)


def test_repeated_views_count_once():
    with pytest.raises(ConfigError, match=r"at least 6 different views.*got 1 \(it was found in 9 of 9"):
        calibrate(photos()[:1] * 9, CHESSBOARD)


def test_views_that_are_not_tilted_are_refused():
    flat = [
        photo(chessboard(), (0, 0, 0.05 * x), (x * 9, 40 - y * 20, 400)) for x in (-3, 0, 3) for y in (0, 4)
    ]
    with pytest.raises(ConfigError, match=r"do not determine the focal length.*tilt the board"):
        calibrate(flat, CHESSBOARD)


def test_a_board_of_another_size_is_not_found():
    with pytest.raises(ConfigError, match=r"got 0 \(it was found in 0 of 2 images\).*inner corners"):
        calibrate(photos()[:2], Board.parse("chessboard:8x5:25mm"))


def test_an_empty_set_of_images_is_refused():
    with pytest.raises(ConfigError, match="in 0 of 0 images"):
        calibrate([], CHESSBOARD)


def test_images_of_different_sizes_are_refused():
    with pytest.raises(ConfigError, match="of one size"):
        calibrate([photos()[0], photos()[1][:400]], CHESSBOARD)


@pytest.mark.parametrize(
    ("text", "board"),
    [
        ("chessboard:9x6:25mm", Board("chessboard", 9, 6, 25.0)),
        ("charuco:5x7:40mm:30mm", Board("charuco", 5, 7, 40.0, 30.0, "4X4_50")),
        ("charuco:5x7:40.5mm:30mm:6x6_250", Board("charuco", 5, 7, 40.5, 30.0, "6X6_250")),
    ],
)
def test_a_board_is_parsed(text: str, board: Board):
    assert Board.parse(text) == board


@pytest.mark.parametrize(
    "text",
    ["", "9x6", "chessboard:9x6", "chessboard:9x6:25", "chessboard:9x6:2.5.0mm", "chessboard:2x6:25mm",
     "chessboard:9x6:0mm", "charuco:5x7:40mm", "charuco:5x7:40mm:50mm", "circles:4x11:20mm"],
)  # fmt: skip
def test_an_impossible_board_is_refused(text: str):
    with pytest.raises(ConfigError, match="board: expected"):
        Board.parse(text)


def test_an_unknown_dictionary_is_refused_with_a_list_of_those_that_exist():
    with pytest.raises(ConfigError, match=r"one of .*4X4_50.*got 9X9_1"):
        calibrate(photos()[:1], Board.parse("charuco:5x7:40mm:30mm:9x9_1"))


def test_a_video_gives_five_images_a_second(tmp_path: Path):
    path = tmp_path / "board.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, SIZE_WH)
    for shade in range(60):
        writer.write(np.full((480, 640, 3), 4 * shade, np.uint8))
    writer.release()
    assert len(list(read_images(path))) == 10


def test_the_command_writes_intrinsics_that_a_config_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for number, image in enumerate(photos()):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    output = tmp_path / "camera.yaml"
    board = ["--board", "chessboard:9x6:25mm", "--name", "door"]
    with pytest.raises(SystemExit) as exit_info:
        main(["calibrate", str(tmp_path), *board, "-o", str(output)])
    assert exit_info.value.code in (0, None)
    walk = {"sources": {"door": {"type": "synthetic"}}, "sinks": {"log": {"type": "console"}}}
    assert_is_the_camera(resolve(walk | yaml.safe_load(output.read_text())).scene.cameras["door"])
    assert "board found in 12 of 12 images" in capsys.readouterr().out
