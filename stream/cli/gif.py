"""Moving pictures of lifted poses: what came in at the left, the body from the front and from the side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.errors import ConfigError
from stream.messages import Pose, PoseFrame

_PANEL = 320  # pixels
_SMOOTH = 2  # drawn this much larger, then shrunk
_BACK, _FLOOR = (250, 250, 247), (222, 222, 216)
_LEFT, _RIGHT, _MIDDLE = (36, 113, 163), (214, 90, 49), (70, 70, 70)
_PICTURE_HZ = 12.5

Points = NDArray[np.floating]  # (J, 2)


def animate(frames: Sequence[PoseFrame], path: Path) -> None:
    """Write a GIF of `frames`, left limbs blue, right ones orange; ConfigError when none has a pose."""
    shown = [frame for frame in frames if any(np.isfinite(person.xyz).all() for person in frame.persons)]
    if not shown:
        raise ConfigError("nothing to draw: no person was lifted")
    pictures = [draw(frame).quantize(32, dither=0) for frame in _thin(shown)]  # few colours: a small file
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=round(1000 / _PICTURE_HZ), loop=0
    )


def draw(frame: PoseFrame) -> Any:
    """One frame as a PIL image: keypoints as seen, the lifted pose from the front and from its left side."""
    from PIL import Image, ImageDraw

    size = _PANEL * _SMOOTH
    image = Image.new("RGB", (3 * size, size), _BACK)
    canvas = ImageDraw.Draw(image)
    for column, title in enumerate(("keypoints", "lifted, from the camera", "lifted, from the side")):
        canvas.text((column * size + 20, 16), title, fill=_MIDDLE, font_size=13 * _SMOOTH)
    for pose in frame.persons:
        if not np.isfinite(pose.xyz).all():
            continue
        if pose.kp2d is not None:
            _limbs(canvas, frame.skeleton, _into_panel(pose.kp2d[:, :2]))
        _floor(canvas, pose, 1, size)
        _floor(canvas, pose, 2, size)
        _limbs(canvas, frame.skeleton, _metres(pose.xyz[:, [0, 1]], 1))
        # Seen from the camera's left: what is far away stands at the left.
        _limbs(canvas, frame.skeleton, _metres(pose.xyz[:, [2, 1]] * [-1, 1], 2))
    return image.resize((3 * _PANEL, _PANEL), Image.Resampling.LANCZOS)


def _thin(frames: Sequence[PoseFrame]) -> list[PoseFrame]:
    """One frame per picture of the animation, by time of capture."""
    kept, next_ns = [], 0
    for frame in frames:
        if frame.header.captured_unix_ns >= next_ns:
            kept.append(frame)
            next_ns = frame.header.captured_unix_ns + round(0.98e9 / _PICTURE_HZ)
    return kept


def _metres(xy: Points, column: int) -> Points:
    """Metres to pixels of a panel 2.4 m high with the pelvis a little above the middle."""
    scale = _PANEL * _SMOOTH / 2.4
    return xy * scale + [(column + 0.5) * _PANEL * _SMOOTH, 0.47 * _PANEL * _SMOOTH]


def _into_panel(xy: Points) -> Points:
    """Pixels of the camera into the first panel, the person filling most of it."""
    low, high = np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)
    scale = 0.72 * _PANEL * _SMOOTH / max(1.0, float((high - low).max()))
    return (xy - (low + high) / 2) * scale + np.array([0.5, 0.53]) * _PANEL * _SMOOTH


def _floor(canvas: Any, pose: Pose, column: int, size: int) -> None:
    lowest = _metres(pose.xyz[:, [0, 1]], column)[:, 1].max()
    canvas.line([(column * size + 30, lowest), ((column + 1) * size - 30, lowest)], fill=_FLOOR, width=3)


def _limbs(canvas: Any, skeleton_name: str, points: Points) -> None:
    skeleton = skeletons.skeleton_named(skeleton_name)
    left, right = ({pair[side] for pair in skeleton.flip_pairs} for side in (0, 1))
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0 or not np.isfinite(points[[joint, parent]]).all():
            continue
        colour = _LEFT if joint in left else _RIGHT if joint in right else _MIDDLE
        canvas.line([tuple(points[parent]), tuple(points[joint])], fill=colour, width=4 * _SMOOTH)
    for x, y in points[np.isfinite(points).all(axis=1)]:
        radius = 3 * _SMOOTH
        canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_MIDDLE)
