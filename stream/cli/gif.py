"""Animated drawings of lifted poses: the 2D keypoints, the 3D pose from the camera and from its left."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stream import skeletons
from stream.errors import ConfigError
from stream.messages import Pose, PoseFrame

PANEL_PX = 320  # side of each of the three panels
SUPERSAMPLING = 2  # drawn so much larger and then scaled down, for smooth edges
CANVAS_PX = PANEL_PX * SUPERSAMPLING
IMAGES_HZ = 12.5
PANEL_HEIGHT_M = 2.4
COLOURS = 32  # few, for a small file

BACKGROUND, FLOOR = (250, 250, 247), (222, 222, 216)
LEFT, RIGHT, MIDDLE = (36, 113, 163), (214, 90, 49), (70, 70, 70)

Points = NDArray[np.floating]  # (J, 2) pixels of the drawing


def write_gif(frames: Sequence[PoseFrame], path: Path) -> None:
    """Write an animation of `frames`, left limbs blue, right limbs orange, the trunk grey.

    ConfigError when no frame has a complete pose.
    """
    drawable = [frame for frame in frames if any(np.isfinite(person.xyz).all() for person in frame.persons)]
    if not drawable:
        raise ConfigError("nothing to draw: no person was lifted")
    images = [draw(frame).quantize(COLOURS, dither=Image.Dither.NONE) for frame in _thin(drawable)]
    path.parent.mkdir(parents=True, exist_ok=True)
    duration_ms = round(1000 / IMAGES_HZ)
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration_ms, loop=0)


def draw(frame: PoseFrame) -> Image.Image:
    """One frame as an image of three square panels, PANEL_PX high."""
    image = Image.new("RGB", (3 * CANVAS_PX, CANVAS_PX), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    for column, title in enumerate(("keypoints", "lifted, from the camera", "lifted, from the side")):
        canvas.text((column * CANVAS_PX + 20, 16), title, fill=MIDDLE, font_size=13 * SUPERSAMPLING)
    for pose in frame.persons:
        if not np.isfinite(pose.xyz).all():
            continue
        if pose.kp2d is not None:
            _draw_limbs(canvas, frame.skeleton, _keypoints_to_panel(pose.kp2d[:, :2]))
        _draw_floor(canvas, pose, 1)
        _draw_floor(canvas, pose, 2)
        _draw_limbs(canvas, frame.skeleton, _metres_to_panel(pose.xyz[:, [0, 1]], 1))
        # From the camera's left side, points far from the camera (large z) are at the left.
        _draw_limbs(canvas, frame.skeleton, _metres_to_panel(pose.xyz[:, [2, 1]] * [-1, 1], 2))
    return image.resize((3 * PANEL_PX, PANEL_PX), Image.Resampling.LANCZOS)


def _thin(frames: Sequence[PoseFrame]) -> list[PoseFrame]:
    """At most IMAGES_HZ frames per second, by time of capture."""
    thinned, next_ns = [], 0
    for frame in frames:
        if frame.header.captured_unix_ns >= next_ns:
            thinned.append(frame)
            # 2 % early, because capture times jitter around the frame rate.
            next_ns = frame.header.captured_unix_ns + round(0.98e9 / IMAGES_HZ)
    return thinned


def _metres_to_panel(xy: Points, column: int) -> Points:
    """Metres (J, 2) to pixels of a panel; the pelvis (0, 0) is put slightly above the middle."""
    scale = CANVAS_PX / PANEL_HEIGHT_M
    pixels: Points = xy * scale + np.array([(column + 0.5) * CANVAS_PX, 0.47 * CANVAS_PX])
    return pixels


def _keypoints_to_panel(xy: Points) -> Points:
    """Camera pixels (J, 2) to pixels of the first panel, scaled so that the person fills most of it."""
    low, high = np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)
    scale = 0.72 * CANVAS_PX / max(1.0, float((high - low).max()))
    pixels: Points = (xy - (low + high) / 2) * scale + np.array([0.5, 0.53]) * CANVAS_PX
    return pixels


def _draw_floor(canvas: ImageDraw.ImageDraw, pose: Pose, column: int) -> None:
    """A line at the height of the person's lowest joint."""
    y = float(_metres_to_panel(pose.xyz[:, [0, 1]], column)[:, 1].max())
    canvas.line([(column * CANVAS_PX + 30, y), ((column + 1) * CANVAS_PX - 30, y)], fill=FLOOR, width=3)


def _draw_limbs(canvas: ImageDraw.ImageDraw, skeleton_name: str, points: Points) -> None:
    skeleton = skeletons.skeleton_named(skeleton_name)
    left, right = ({pair[side] for pair in skeleton.flip_pairs} for side in (0, 1))
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0 or not np.isfinite(points[[joint, parent]]).all():
            continue
        colour = LEFT if joint in left else RIGHT if joint in right else MIDDLE
        canvas.line([tuple(points[parent]), tuple(points[joint])], fill=colour, width=4 * SUPERSAMPLING)
    radius = 3 * SUPERSAMPLING
    for x, y in points[np.isfinite(points).all(axis=1)]:
        canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=MIDDLE)
