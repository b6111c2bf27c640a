"""Our messages as ROS 2 messages: what the ROS 2 sink publishes and MCAP recordings hold."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sinks.ros2 import messages as ros
from sinks.ros2.bodies import (
    body_markers,
    body_transforms,
    bounding_box,
    delete_markers,
    openpose_points,
    ros_id,
    urdf,
)
from stream.camera_info import Extrinsics
from stream.messages import F32, Message, Meta, Pose, PoseFrame, Status

TF, TF_STATIC, MARKERS = "/tf", "/tf_static", "/poselift/markers"
TRACKED, DIAGNOSTICS = "/humans/bodies/tracked", "/diagnostics"
TF_TYPE, STRING_TYPE = "tf2_msgs/msg/TFMessage", "std_msgs/msg/String"
MARKERS_TYPE, IDS_TYPE = "visualization_msgs/msg/MarkerArray", "hri_msgs/msg/IdsList"
SKELETON_TYPE, REGION_TYPE = "hri_msgs/msg/Skeleton2D", "hri_msgs/msg/NormalizedRegionOfInterest2D"
DIAGNOSTICS_TYPE = "diagnostic_msgs/msg/DiagnosticArray"
LATCHED = frozenset((TF_STATIC,))  # topics whose last message late subscribers get, beside every urdf

_OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # from a camera's body (x ahead, z up) to its optical axes
_ALWAYS_NS = 0  # static transforms hold at all times
_LEVELS = {"ok": 0, "ended": 0, "retrying": 1, "lost": 2}


class RosMessage(NamedTuple):
    """Bytes for a topic; data is None when the topic ends."""

    topic: str
    type_name: str
    data: bytes | None


@dataclass(slots=True)
class _Person:
    """The last root of a person, in metres, and the time of their last transforms."""

    name: str  # the id in ROS
    root: F32 | None = None
    stamp_ns: int = -1


@dataclass(slots=True)
class _Camera:
    """What is known of a source, and its persons by id."""

    size_wh: tuple[int, int] | None = None
    extrinsics: Extrinsics | None = None
    persons: dict[str, _Person] = field(default_factory=dict)


class RosConverter:
    """Keeps what one message needs of earlier ones: cameras, last roots, which persons have topics."""

    def __init__(self) -> None:
        self._cameras: dict[str, _Camera] = {}

    def convert(self, message: Message) -> Iterator[RosMessage]:
        """ROS messages of a pose frame, a meta or a status."""
        match message:
            case PoseFrame():
                yield from self._poses(message)
            case Meta():
                camera = self._cameras.setdefault(message.source, _Camera())
                camera.size_wh, camera.extrinsics = message.size_wh, message.extrinsics
                yield RosMessage(TF_STATIC, TF_TYPE, ros.tf_message(_ALWAYS_NS, list(self._static())))
            case Status():
                rows = [_diagnostic(name, state) for name, state in message.report["states"].items()]
                data = ros.diagnostic_array(message.unix_ns, message.node, rows)
                yield RosMessage(DIAGNOSTICS, DIAGNOSTICS_TYPE, data)

    def end(self, stamp_ns: int) -> Iterator[RosMessage]:
        """Messages that remove all persons, for the end of the run."""
        for name, camera in self._cameras.items():
            optical = f"{name}_optical_frame"
            markers: list[ros.Marker] = []
            for person in camera.persons.values():
                markers += delete_markers(optical, name, person.name)
            camera.persons.clear()
            if markers:
                yield RosMessage(MARKERS, MARKERS_TYPE, ros.marker_array(stamp_ns, markers))
            yield RosMessage(TRACKED, IDS_TYPE, ros.ids_list(stamp_ns, optical, []))

    def _poses(self, frame: PoseFrame) -> Iterator[RosMessage]:
        name, stamp_ns = frame.header.source, frame.header.captured_unix_ns
        camera = self._cameras.setdefault(name, _Camera())
        optical = f"{name}_optical_frame"
        frame_id = frame.frame_id or optical
        transforms: list[ros.Transform] = []
        markers: list[ros.Marker] = []
        present = {person.id for person in frame.persons if person.state != "lost"}
        # The frame that reports a person as lost may itself be lost, or too old.
        lost = {person.id for person in frame.persons} - present
        if lost and not present:  # poses of other persons may have been too old to be sent
            present = camera.persons.keys() - lost
        for id in [id for id in camera.persons if id not in present]:
            markers += delete_markers(frame_id, name, camera.persons[id].name)
            yield from _end_topics(camera.persons.pop(id).name)
        for person in frame.persons:
            if person.state == "lost":
                continue
            is_new = person.id not in camera.persons
            known = camera.persons.setdefault(person.id, _Person(ros_id(name, person.id)))
            if stamp_ns <= known.stamp_ns:
                continue  # tf2 drops transforms whose stamp is not later than the last
            known.stamp_ns = stamp_ns
            if person.root is not None:  # a predicted person has none; it stays at its last place
                known.root = person.root
            if known.root is not None:
                markers += body_markers(person, known.root, frame_id, name, known.name, frame.skeleton)
                if person.rotations is not None:
                    transforms += self._transforms(frame_id, camera, person, known.root, optical, known.name)
            yield from _body_topics(person, camera.size_wh, optical, known.name, stamp_ns, is_new)
        if transforms:
            yield RosMessage(TF, TF_TYPE, ros.tf_message(stamp_ns, transforms))
        if markers:
            yield RosMessage(MARKERS, MARKERS_TYPE, ros.marker_array(stamp_ns, markers))
        tracked = [person.name for person in camera.persons.values()]
        yield RosMessage(TRACKED, IDS_TYPE, ros.ids_list(stamp_ns, optical, tracked))

    def _transforms(
        self, frame_id: str, camera: _Camera, person: Pose, root: F32, optical: str, id: str
    ) -> Iterator[ros.Transform]:
        """REP-155 wants bodies below the camera, so poses in a world are turned back."""
        place, to_camera = root.astype(np.float64), np.eye(3)
        if frame_id != optical and camera.extrinsics is not None:
            place, to_camera = camera.extrinsics.to_camera(place), camera.extrinsics.matrix().T
        return body_transforms(person, place, optical, id, to_camera)

    def _static(self) -> Iterator[ros.Transform]:
        """All static transforms: subscribers keep only the last message of the topic."""
        for name, camera in self._cameras.items():
            place = camera.extrinsics
            if place is not None:
                yield ros.Transform(place.frame_id, place.child_frame_id, place.pos, place.quat)
            else:
                yield ros.Transform(f"{name}_link", f"{name}_optical_frame", (0.0, 0.0, 0.0), _OPTICAL)


def _body_topics(
    person: Pose, size_wh: tuple[int, int] | None, optical: str, id: str, stamp_ns: int, is_new: bool
) -> Iterator[RosMessage]:
    base = f"/humans/bodies/{id}"
    if is_new and person.rotations is not None:
        yield RosMessage(f"{base}/urdf", STRING_TYPE, ros.string(urdf(id, person)))
    if person.kp2d is not None and size_wh is not None:
        points = openpose_points(person.kp2d, size_wh)
        box = bounding_box(person.kp2d, size_wh)
        yield RosMessage(f"{base}/skeleton2d", SKELETON_TYPE, ros.skeleton_2d(stamp_ns, optical, points))
        yield RosMessage(f"{base}/roi", REGION_TYPE, ros.region(stamp_ns, optical, *box))


def _end_topics(id: str) -> Iterator[RosMessage]:
    for topic, type_name in (("skeleton2d", SKELETON_TYPE), ("roi", REGION_TYPE), ("urdf", STRING_TYPE)):
        yield RosMessage(f"/humans/bodies/{id}/{topic}", type_name, None)


def _diagnostic(name: str, state: dict[str, Any]) -> tuple[int, str, str, dict[str, str]]:
    text = f"{state['state']}: {state['detail']}" if state["detail"] else state["state"]
    return _LEVELS.get(state["state"], 1), name, text, {}
