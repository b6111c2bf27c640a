"""Animated drawings of lifted poses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stream.cli.gif import LEFT, RIGHT, draw, write_gif
from stream.errors import ConfigError
from stream.messages import Header, Pose, PoseFrame

STANDING = np.array(
    [
        [0, 0, 0], [-0.1, 0, 0], [-0.1, 0.45, 0], [-0.1, 0.9, 0], [0.1, 0, 0], [0.1, 0.45, 0], [0.1, 0.9, 0],
        [0, -0.25, 0], [0, -0.5, 0], [0, -0.6, 0], [0, -0.75, 0], [0.2, -0.5, 0], [0.2, -0.2, 0],
        [0.2, 0.05, 0], [-0.2, -0.5, 0], [-0.2, -0.2, 0], [-0.2, 0.05, 0],
    ],
    np.float32,
)  # fmt: skip


def frame(seq: int, xyz: np.ndarray = STANDING) -> PoseFrame:
    pose = Pose("a0001", "ok", xyz, np.ones(17, np.float32), np.ones(17, np.uint8))
    return PoseFrame(Header("cam0", seq, 0, seq * 40_000_000), (pose,))


def columns_of(image: Image.Image, colour: tuple[int, int, int], left: int, right: int) -> np.ndarray:
    pixels = np.asarray(image)[:, left:right].astype(int)
    return np.nonzero((np.abs(pixels - colour) < 12).all(axis=2))[1] + left


def test_the_right_side_of_a_person_who_faces_the_camera_is_at_the_left():
    image = draw(frame(0))
    right, left = columns_of(image, RIGHT, 320, 640), columns_of(image, LEFT, 320, 640)
    assert right.size > 50
    assert left.size > 50
    assert right.max() < left.min()


def test_feet_are_drawn_below_the_head():
    image = np.asarray(draw(frame(0)))[60:, 320:640]  # below the title
    rows = np.nonzero((np.abs(image.astype(int) - RIGHT) < 12).all(axis=2))[0]
    assert rows.max() > 160  # legs reach well into the lower half


def test_the_animation_has_one_image_per_80_ms(tmp_path: Path):
    # Successive equal images would be stored as one image.
    moving = [frame(seq, STANDING + np.float32(seq / 100)) for seq in range(50)]
    write_gif(moving, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.format == "GIF"
        assert (image.n_frames, image.info["duration"]) == (25, 80)


def test_frames_without_a_pose_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no person was lifted"):
        write_gif([frame(0, np.full((17, 3), np.nan, np.float32))], tmp_path / "a.gif")
