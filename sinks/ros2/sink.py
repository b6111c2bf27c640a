"""The ROS 2 sink: what RViz, tf2 and REP-155 programs subscribe to, without ROS on this machine."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from sinks.max_age import MaxAge
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
from sinks.ros2.participant import Distro, Participant
from stream.camera_info import Extrinsics
from stream.errors import ConfigError
from stream.messages import F32, Message, Meta, Pose, PoseFrame, Status
from stream.protocols import ComponentContext

TF, TF_STATIC, MARKERS = "/tf", "/tf_static", "/poselift/markers"
TRACKED, DIAGNOSTICS = "/humans/bodies/tracked", "/diagnostics"
_FIXED_TOPICS = {
    TF: ("tf2_msgs/msg/TFMessage", 100),
    MARKERS: ("visualization_msgs/msg/MarkerArray", 10),
    TRACKED: ("hri_msgs/msg/IdsList", 10),
    DIAGNOSTICS: ("diagnostic_msgs/msg/DiagnosticArray", 10),
}
_OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # from a camera's body (x ahead, z up) to its optical axes
_ALWAYS_NS = 0  # static transforms hold at all times
_LEVELS = {"ok": 0, "ended": 0, "retrying": 1, "lost": 2}


@dataclass(slots=True)
class _Source:
    """What is known of a camera, and the persons whose topics exist."""

    size_wh: tuple[int, int] | None = None
    extrinsics: Extrinsics | None = None
    last_ns: int = -1
    roots: dict[str, F32] = field(default_factory=dict)  # last known root by person


class ROS2:
    """Publishes /tf, /tf_static, markers, REP-155 bodies and diagnostics over DDS."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """domain: the ROS_DOMAIN_ID, 0 to 101.
        interface: network interface to use; lo keeps everything on this machine.
        peers: addresses of machines that multicast does not reach.
        distro: which distribution the node announces itself to: humble, jazzy (and later), or none for no
        node name.
        max_age_ms: poses older than this are not sent.
        """

        domain: int = 0
        interface: str = "lo"
        peers: tuple[str, ...] = ()
        distro: Distro = "jazzy"
        max_age_ms: float = 1000.0

        def __post_init__(self) -> None:
            if not 0 <= self.domain <= 101:
                raise ConfigError(f"ros2 domain: expected 0 to 101, got {self.domain}")
            if not self.max_age_ms > 0:
                raise ConfigError(f"ros2 max_age_ms: expected more than 0, got {self.max_age_ms}")
            for text in (self.interface, *self.peers):
                if not text or set(text) & set("<>\"'&"):
                    raise ConfigError(f"ros2: expected the name of an interface or an address, got {text!r}")

    needs_rotations = True
    close_timeout_s = 2.0

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._max_age = MaxAge(settings.max_age_ms, context)
        self._participant: Participant | None = None
        self._sources: dict[str, _Source] = {}

    @property
    def endpoint(self) -> str:
        return f"dds://{self._settings.interface}?domain={self._settings.domain}"

    def open(self) -> None:
        settings = self._settings
        node = "".join(c if c.isalnum() else "_" for c in self._context.node)
        self._participant = Participant(
            settings.domain, settings.interface, settings.peers, node, settings.distro
        )
        self._participant.add(TF_STATIC, "tf2_msgs/msg/TFMessage", latched=True)
        for topic, (type_name, depth) in _FIXED_TOPICS.items():
            self._participant.add(topic, type_name, depth)

    def close(self) -> None:
        if self._participant is None:
            return
        for source in self._sources.values():
            for id in list(source.roots):
                self._end(source, id)
        self._participant.close()
        self._participant = None

    def send(self, message: Message) -> None:
        """Publish a pose frame, keep what a `meta` tells of a camera, report a status as diagnostics."""
        match message:
            case PoseFrame():
                if not self._max_age.exceeded(message):
                    self._poses(message)
            case Meta():
                source = self._sources.setdefault(message.source, _Source())
                source.size_wh, source.extrinsics = message.size_wh, message.extrinsics
                self._write(TF_STATIC, ros.tf_message(_ALWAYS_NS, list(self._static())))
            case Status():
                rows = [_diagnostic(name, state) for name, state in message.report["states"].items()]
                self._write(DIAGNOSTICS, ros.diagnostic_array(message.unix_ns, message.node, rows))

    def _poses(self, frame: PoseFrame) -> None:
        name, stamp_ns = frame.header.source, frame.header.captured_unix_ns
        source = self._sources.setdefault(name, _Source())
        optical = f"{name}_optical_frame"
        if stamp_ns <= source.last_ns:
            return  # tf2 drops transforms whose stamp is not later than the last
        source.last_ns = stamp_ns
        transforms: list[ros.Transform] = []
        markers: list[ros.Marker] = []
        tracked: list[str] = []
        for person in frame.persons:
            id = ros_id(name, person.id)
            if person.state == "lost":
                markers += delete_markers(frame.frame_id or optical, name, id)
                self._end(source, id)
                continue
            tracked.append(id)
            root = person.root if person.root is not None else source.roots.get(id)
            if id not in source.roots or person.root is not None:
                source.roots[id] = person.root if person.root is not None else np.full(3, np.nan, np.float32)
            self._person_topics(id)
            if root is not None and np.isfinite(root).all():
                markers += body_markers(person, root, frame.frame_id or optical, name, id, frame.skeleton)
                if person.rotations is not None:
                    transforms += self._transforms(frame, source, person, root, optical, id)
            self._image_topics(source, person, id, optical, stamp_ns)
        if transforms:
            self._write(TF, ros.tf_message(stamp_ns, transforms))
        if markers:
            self._write(MARKERS, ros.marker_array(stamp_ns, markers))
        self._write(TRACKED, ros.ids_list(stamp_ns, optical, tracked))

    def _transforms(
        self, frame: PoseFrame, source: _Source, person: Pose, root: F32, optical: str, id: str
    ) -> Iterator[ros.Transform]:
        """REP-155 wants bodies below the camera, so poses in a world are turned back."""
        place, to_camera = root.astype(np.float64), np.eye(3)
        if frame.frame_id not in ("", optical) and source.extrinsics is not None:
            place, to_camera = source.extrinsics.to_camera(place), source.extrinsics.matrix().T
        return body_transforms(person, place, optical, id, to_camera)

    def _person_topics(self, id: str) -> None:
        assert self._participant is not None
        base = f"/humans/bodies/{id}"
        self._participant.add(f"{base}/skeleton2d", "hri_msgs/msg/Skeleton2D")
        self._participant.add(f"{base}/roi", "hri_msgs/msg/NormalizedRegionOfInterest2D")

    def _image_topics(self, source: _Source, person: Pose, id: str, optical: str, stamp_ns: int) -> None:
        assert self._participant is not None
        base = f"/humans/bodies/{id}"
        if person.rotations is not None and self._participant.add(
            f"{base}/urdf", "std_msgs/msg/String", latched=True
        ):
            self._write(f"{base}/urdf", ros.string(urdf(id, person)))
        if person.kp2d is None or source.size_wh is None:
            return
        points = openpose_points(person.kp2d, source.size_wh)
        self._write(f"{base}/skeleton2d", ros.skeleton_2d(stamp_ns, optical, points))
        self._write(f"{base}/roi", ros.region(stamp_ns, optical, *bounding_box(person.kp2d, source.size_wh)))

    def _end(self, source: _Source, id: str) -> None:
        assert self._participant is not None
        source.roots.pop(id, None)
        for topic in ("skeleton2d", "roi", "urdf"):
            self._participant.remove(f"/humans/bodies/{id}/{topic}")

    def _static(self) -> Iterator[ros.Transform]:
        """All static transforms: subscribers keep only the last message of the topic."""
        for name, source in self._sources.items():
            place = source.extrinsics
            if place is not None:
                yield ros.Transform(place.frame_id, place.child_frame_id, place.pos, place.quat)
            else:
                yield ros.Transform(f"{name}_link", f"{name}_optical_frame", (0.0, 0.0, 0.0), _OPTICAL)

    def _write(self, topic: str, data: bytes) -> None:
        assert self._participant is not None  # the pipeline sends only after `open`
        self._participant.write(topic, data)


def _diagnostic(name: str, state: dict[str, Any]) -> tuple[int, str, str, dict[str, str]]:
    text = f"{state['state']}: {state['detail']}" if state["detail"] else state["state"]
    return _LEVELS.get(state["state"], 1), name, text, {}
