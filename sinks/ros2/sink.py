"""The ROS 2 sink: what RViz, tf2 and REP-155 programs subscribe to, without ROS on this machine."""

import msgspec

from sinks.max_age import MaxAge
from sinks.ros2.convert import (
    DIAGNOSTICS,
    DIAGNOSTICS_TYPE,
    IDS_TYPE,
    LATCHED,
    MARKERS,
    MARKERS_TYPE,
    TF,
    TF_STATIC,
    TF_TYPE,
    TRACKED,
    RosConverter,
    RosMessage,
)
from sinks.ros2.participant import Distro, Participant
from stream.errors import ConfigError
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext

# Announced at once, so that subscribers find them before the first person appears.
_TOPICS = {
    TF_STATIC: TF_TYPE,
    TF: TF_TYPE,
    MARKERS: MARKERS_TYPE,
    TRACKED: IDS_TYPE,
    DIAGNOSTICS: DIAGNOSTICS_TYPE,
}
_DEPTHS = {TF: 100}
# Of use at any age, or retained; every other topic holds poses.
_AGELESS = frozenset((TF_STATIC, TRACKED, DIAGNOSTICS))


class ROS2:
    """Publishes /tf, /tf_static, markers, REP-155 bodies and diagnostics over DDS."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """domain: the ROS_DOMAIN_ID, 0 to 101.
        interface: network interface to use; lo keeps everything on this machine.
        peers: addresses of machines that multicast does not reach.
        distro: which distribution the node announces itself to: humble, jazzy (and later), or none for no
        node name.
        max_age_ms: older poses are neither sent nor, after a pause of the network, delivered; their persons
        count as lost.
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

    close_timeout_s = 2.0

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._max_age = MaxAge(settings.max_age_ms, context)
        self._converter = RosConverter()
        self._participant: Participant | None = None

    @property
    def endpoint(self) -> str:
        return f"dds://{self._settings.interface}?domain={self._settings.domain}"

    def open(self) -> None:
        settings = self._settings
        node = "".join(c if c.isalnum() else "_" for c in self._context.node)
        self._participant = Participant(
            settings.domain, settings.interface, settings.peers, node, settings.distro
        )
        for topic, type_name in _TOPICS.items():
            self._announce(topic, type_name)

    def close(self) -> None:
        """Remove all persons, then leave the network."""
        if self._participant is not None:
            for message in self._converter.end(self._context.clock.unix_ns()):
                self._write(message)
            self._participant.close()
            self._participant = None

    def send(self, message: Message) -> None:
        """Publish a pose frame, keep a camera's `meta`, report a status as diagnostics."""
        if isinstance(message, PoseFrame):
            message = self._max_age.fresh(message)
        for converted in self._converter.convert(message):
            self._write(converted)

    def _write(self, message: RosMessage) -> None:
        assert self._participant is not None  # the pipeline sends only after `open`
        if message.data is None:
            self._participant.remove(message.topic)
            return
        self._announce(message.topic, message.type_name)
        self._participant.write(message.topic, message.data)

    def _announce(self, topic: str, type_name: str) -> None:
        assert self._participant is not None
        latched = topic in LATCHED or topic.endswith("/urdf")
        lifespan_ms = None if latched or topic in _AGELESS else self._settings.max_age_ms
        self._participant.add(topic, type_name, _DEPTHS.get(topic, 10), latched, lifespan_ms)
