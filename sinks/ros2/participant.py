"""A DDS participant that ROS 2 takes for one of its nodes: writers for bytes that are already ROS
messages.
"""

import ctypes
import functools
import importlib
from typing import Any, Literal

from sinks.ros2.cdr import CdrWriter
from sinks.ros2.definitions import fields
from sinks.ros2.messages import HASHES
from stream.errors import ConfigError, SinkUnavailable

Distro = Literal["humble", "jazzy", "none"]
_INFO = "rmw_dds_common/msg/ParticipantEntitiesInfo"
MAX_LIFESPAN_MS = 1e9  # DDS counts nanoseconds; longer ones do not end either
_FATAL, _ERROR = 1, 2  # categories of Cyclone DDS's log
_GID_BYTES = {"humble": 24, "jazzy": 16}


class Participant:
    """Writers by topic. topic names are ROS's ("/tf"); types are ROS's ("tf2_msgs/msg/TFMessage")."""

    def __init__(
        self, domain: int, interface: str, peers: tuple[str, ...], node: str, distro: Distro
    ) -> None:
        self._dds = _cyclonedds()
        self._node, self._distro = node, distro
        self._writers: dict[str, Any] = {}
        try:
            self._domain = self._dds.domain.Domain(domain, configuration(interface, peers))
            self._dds.log_errors_only()
            self._participant = self._dds.domain.DomainParticipant(
                domain, self._dds.qos.Qos(self._dds.core.Policy.Userdata(b"enclave=/;"))
            )
        except self._dds.core.DDSException as error:
            raise SinkUnavailable(f"DDS domain {domain} on {interface}: {error}") from error
        self._info = None
        if distro != "none":
            self._info = self._writer("ros_discovery_info", "", latched=True)

    def add(
        self,
        topic: str,
        type_name: str,
        depth: int = 10,
        latched: bool = False,
        lifespan_ms: float | None = None,
    ) -> bool:
        """Announce a topic; latched: late subscribers get the last message. Returns whether it is new.

        lifespan_ms: messages older than this are not delivered, for example after a pause of the network.
        """
        if topic in self._writers:
            return False
        self._writers[topic] = self._writer(f"rt{topic}", type_name, depth, latched, lifespan_ms)
        self._announce_node()
        return True

    def remove(self, topic: str) -> None:
        """Withdraw a topic."""
        if self._writers.pop(topic, None) is not None:
            self._announce_node()

    def write(self, topic: str, data: bytes) -> None:
        """Publish the bytes of a message."""
        writer = self._writers[topic]
        writer.write(writer.data_type(data))

    def close(self) -> None:
        self._writers.clear()
        self._info = self._participant = self._domain = None

    def _writer(
        self,
        topic: str,
        type_name: str,
        depth: int = 10,
        latched: bool = False,
        lifespan_ms: float | None = None,
    ) -> Any:
        dds, Policy = self._dds, self._dds.core.Policy
        durability = Policy.Durability.TransientLocal if latched else Policy.Durability.Volatile
        qos = dds.qos.Qos(
            Policy.Reliability.Reliable(max_blocking_time=0),
            durability,
            Policy.History.KeepLast(1 if latched else depth),
            Policy.Lifespan(
                dds.util.duration(infinite=True)
                if lifespan_ms is None
                else dds.util.duration(microseconds=round(1e3 * min(lifespan_ms, MAX_LIFESPAN_MS)))
            ),
            Policy.DataRepresentation(use_cdrv0_representation=True),
            Policy.Userdata(f"typehash=RIHS01_{HASHES[type_name]};".encode() if type_name else b""),
        )
        if type_name:
            names = type_name.replace("/msg/", "/"), dds_type(type_name)
        else:
            size = _GID_BYTES[self._distro]
            names = f"rmw_dds_common/ParticipantEntitiesInfo{size}", dds_type(_INFO)
        return dds.pub.DataWriter(
            self._participant, dds.topic.Topic(self._participant, topic, _type(*names)), qos=qos
        )

    def _announce_node(self) -> None:
        """Tell `ros2 node list` which node the writers belong to."""
        if self._info is None:
            return
        size = _GID_BYTES[self._distro]
        cdr = CdrWriter()
        _gid(cdr, self._participant.guid.bytes, size)
        cdr.put("u32", 1).text("/").text(self._node).put("u32", 0).put("u32", len(self._writers))
        for writer in self._writers.values():
            _gid(cdr, writer.guid.bytes, size)
        self._info.write(self._info.data_type(cdr.getvalue()))


def _gid(cdr: CdrWriter, guid: bytes, size: int) -> None:
    cdr.put("u8", *guid.ljust(size, b"\0")[:size])


def dds_type(name: str) -> str:
    package, kind, type_name = name.split("/")
    return f"{package}::{kind}::dds_::{type_name}_"


@functools.cache
def _type(name: str, dds_name: str) -> Any:
    """The DDS type of a message for writers; its samples are made of bytes instead of fields.

    It is no subclass of a type: DDS would announce the name and the base of the subclass, and Fast DDS
    matches endpoints by the name.
    """
    built = _struct(name, dds_name, dataclassify=False)
    built.__init__ = _set_data
    built.serialize = _data
    return built


def _set_data(sample: Any, data: bytes) -> None:
    sample.data = data


def _data(sample: Any, **options: Any) -> bytes:
    data: bytes = sample.data
    return data


@functools.cache
def dds_struct(name: str, dds_name: str = "") -> Any:
    """A cyclonedds class with the fields of `sinks.ros2.definitions`."""
    return _struct(name, dds_name or dds_type(name.replace("/", "/msg/")))


def _struct(name: str, dds_name: str, **options: Any) -> Any:
    idl = importlib.import_module("cyclonedds.idl")
    types = importlib.import_module("cyclonedds.idl.types")
    plain = {"string": str, "bool": bool, "byte": types.uint8}
    members = {}
    for field, element, length in fields(name):
        kind = dds_struct(element) if "/" in element else plain.get(element) or getattr(types, element)
        if length is not None:
            kind = types.array[kind, length] if length else types.sequence[kind]
        members[field] = kind
    return idl.make_idl_struct(dds_name.rpartition("::")[2], dds_name.replace("::", "."), members, **options)


class _CycloneDDS:
    """The modules of cyclonedds."""

    def __init__(self) -> None:
        for name in ("core", "domain", "qos", "pub", "topic", "util"):
            setattr(self, name, importlib.import_module(f"cyclonedds.{name}"))

    def log_errors_only(self) -> None:
        """No line for a malformed packet, of which any program of the network can send thousands a second."""
        path = importlib.import_module("cyclonedds.__library__").library_path
        ctypes.CDLL(path).dds_set_log_mask(_FATAL | _ERROR)


def _cyclonedds() -> Any:
    try:
        return _CycloneDDS()
    except ImportError as error:
        raise ConfigError(f"the ros2 sink needs cyclonedds ({error}); pip install 'poselift[ros2]'") from None


def configuration(interface: str, peers: tuple[str, ...]) -> str:
    """Cyclone DDS's configuration: one interface, no multicast on loopback, participants found by peers."""
    loopback = interface in ("lo", "127.0.0.1")
    named = [*peers, *(["127.0.0.1"] if loopback else [])]
    entries = "".join(f'<Peer Address="{peer}"/>' for peer in named)
    allow = "false" if loopback else "default"
    no_multicast = ' multicast="false"' if loopback else ""
    return (
        "<CycloneDDS><Domain><General><Interfaces>"
        f'<NetworkInterface name="{interface}"{no_multicast}/>'
        f"</Interfaces><AllowMulticast>{allow}</AllowMulticast></General>"
        f"<Discovery><ParticipantIndex>auto</ParticipantIndex><Peers>{entries}</Peers></Discovery>"
        "<Tracing><OutputFile>stderr</OutputFile></Tracing></Domain></CycloneDDS>"
    )
