"""Bytes of the ROS 2 messages that poselift publishes, with their type names, hashes and definitions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sinks.ros2.cdr import CdrWriter
from stream.messages import F32
from stream.rotations import F64

LINE_LIST, SPHERE_LIST, TEXT = 5, 7, 9
ADD, DELETE, DELETE_ALL = 0, 2, 3
IDENTITY = (0.0, 0.0, 0.0, 1.0)

# RIHS01 hashes of the types, the same in Humble (which ignores them) and in later distributions.
HASHES = {
    "tf2_msgs/msg/TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    "visualization_msgs/msg/MarkerArray": "86cb8800b6fb05b5eff1abd7a56f62a5641d3ae9a1c29e78e67e704f1d067dcf",
    "std_msgs/msg/String": "df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18",
    "diagnostic_msgs/msg/DiagnosticArray": "5a8a36efb05fb25070fa0fb3810290c0e6cd4862b54a8fb975a1ee8dc55a333e",
    "hri_msgs/msg/IdsList": "7e0812d1ac945c98fd3e393568d581ad0ab567f37b24eff633eab778c1bfe62d",
    "hri_msgs/msg/Skeleton2D": "1cb61f012db6ca43c48fa0097ccab9a00108ea39323c13f01bb983323c1e3420",
    "hri_msgs/msg/NormalizedRegionOfInterest2D":
        "2e50c93f1ca166ee77af9a5424dc951ae4e452b740162a7f83c082d917dcaff5",
}  # fmt: skip


class Transform(NamedTuple):
    """Where the frame `child` stands in `parent`: position in metres, rotation x y z w."""

    parent: str
    child: str
    position: tuple[float, float, float]
    quat: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Marker:
    """A shape for RViz. points (N, 3) m: of a list; scale: line width or diameter in x, height of text in
    z.
    """

    frame_id: str
    namespace: str
    id: int
    kind: int = LINE_LIST
    action: int = ADD
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rgba: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    lifetime_ns: int = 0
    points: F32 | None = None
    colours: F32 | None = field(default=None)  # (N, 4) of the points, or None: all have `rgba`
    text: str = ""


def tf_message(stamp_ns: int, transforms: Sequence[Transform]) -> bytes:
    """tf2_msgs/TFMessage with the same stamp for all transforms."""
    cdr = CdrWriter().put("u32", len(transforms))
    for transform in transforms:
        _header(cdr, stamp_ns, transform.parent)
        cdr.text(transform.child).put("f64", *transform.position, *transform.quat)
    return cdr.getvalue()


def marker_array(stamp_ns: int, markers: Sequence[Marker]) -> bytes:
    """visualization_msgs/MarkerArray."""
    cdr = CdrWriter().put("u32", len(markers))
    for marker in markers:
        _marker(cdr, stamp_ns, marker)
    return cdr.getvalue()


def _marker(cdr: CdrWriter, stamp_ns: int, marker: Marker) -> None:
    _header(cdr, stamp_ns, marker.frame_id)
    cdr.text(marker.namespace).put("i32", marker.id, marker.kind, marker.action)
    cdr.put("f64", *marker.position, *IDENTITY).put("f64", *marker.scale).put("f32", *marker.rgba)
    cdr.put("i32", marker.lifetime_ns // 10**9).put("u32", marker.lifetime_ns % 10**9).put("bool", False)
    points = np.zeros((0, 3)) if marker.points is None else marker.points
    cdr.put("u32", len(points))
    if len(points):
        cdr.array("f64", points.astype(np.float64))
    colours = np.zeros((0, 4), np.float32) if marker.colours is None else marker.colours
    cdr.put("u32", len(colours))
    if len(colours):
        cdr.array("f32", colours)
    cdr.text("")  # texture_resource
    _header(cdr, 0, "")  # texture
    cdr.text("").put("u32", 0)
    cdr.put("u32", 0)  # uv_coordinates
    cdr.text(marker.text).text("")  # text, mesh_resource
    cdr.text("").put("u32", 0)  # mesh_file
    cdr.put("bool", False)  # mesh_use_embedded_materials


def ids_list(stamp_ns: int, frame_id: str, ids: Sequence[str]) -> bytes:
    """hri_msgs/IdsList."""
    return _header(CdrWriter(), stamp_ns, frame_id).texts(ids).getvalue()


def skeleton_2d(stamp_ns: int, frame_id: str, points: F32) -> bytes:
    """hri_msgs/Skeleton2D: points (18, 3) x, y in 0..1 of the image and confidence."""
    if points.shape != (18, 3):
        raise ValueError(f"skeleton: expected (18, 3), got {points.shape}")
    return _header(CdrWriter(), stamp_ns, frame_id).array("f32", points).getvalue()


def region(stamp_ns: int, frame_id: str, box: tuple[float, float, float, float], score: float) -> bytes:
    """hri_msgs/NormalizedRegionOfInterest2D: box of left, top, right, bottom in 0..1 of the image."""
    return _header(CdrWriter(), stamp_ns, frame_id).put("f32", *box, score).getvalue()


def string(text: str) -> bytes:
    """std_msgs/String."""
    return CdrWriter().text(text).getvalue()


def diagnostic_array(stamp_ns: int, node: str, rows: Sequence[tuple[int, str, str, dict[str, str]]]) -> bytes:
    """diagnostic_msgs/DiagnosticArray of rows level (0 ok, 1 warning, 2 error), name, message, values."""
    cdr = _header(CdrWriter(), stamp_ns, "").put("u32", len(rows))
    for level, name, message, values in rows:
        cdr.put("u8", level).text(f"{node}: {name}").text(message).text(node).put("u32", len(values))
        for key, value in values.items():
            cdr.text(key).text(value)
    return cdr.getvalue()


def _header(cdr: CdrWriter, stamp_ns: int, frame_id: str) -> CdrWriter:
    return cdr.put("i32", stamp_ns // 10**9).put("u32", stamp_ns % 10**9).text(frame_id)


def as_position(vector: F64) -> tuple[float, float, float]:
    """A vector (3,) as a plain tuple."""
    x, y, z = (float(value) for value in vector)
    return x, y, z
