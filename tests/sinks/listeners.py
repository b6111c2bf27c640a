"""Receivers of the sinks for robots and avatars, which note what they hear in words.

A listener is polled: `words` reads all that has arrived. "pose" stands for a pose of a present person; the
other words are what each protocol has for the end of a person or of the sender. Repetitions are left out.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import paho.mqtt.client as paho
import zmq
from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication
from cyclonedds.core import Policy
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.qos import Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from pythonosc.osc_bundle import OscBundle

from sinks import SINKS
from sinks.ros2.participant import configuration, dds_struct, dds_type
from stream.config.load import import_component
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, Sink, opened
from tests.conftest import Mosquitto

WAIT_S = 120.0  # generous for a busy machine; a passing test waits for events alone
QUIET_S = 0.5  # how long a test listens before it takes silence for granted


class Listener:
    """Notes the words of one receiver.

    poses: how many have been heard. captured_ns: when they were captured, since 1970, where the protocol has
    times.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.poses = 0
        self.captured_ns: list[int] = []

    def words(self) -> list[str]:
        """Everything heard so far."""
        self.read()
        return self.heard

    def note(self, *words: str) -> None:
        for word in words:
            self.poses += word == "pose"
            if self.heard[-1:] != [word]:
                self.heard.append(word)

    def note_pose(self, captured_unix_ns: int) -> None:
        self.note("pose")
        self.captured_ns.append(captured_unix_ns)

    def forget(self) -> None:
        self.read()
        self.heard, self.captured_ns = [], []

    def read(self) -> None:
        raise NotImplementedError


VMC_STATES = {(1, 3, 0, 1): "pose", (1, 3, 0, 0): "untracked", (0,): "unloaded"}


class VMCListener(Listener):
    """An avatar program: "untracked" and "unloaded" announce the end."""

    def __init__(self, stack: ExitStack, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__()
        self._socket = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.bind((host, port))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def read(self) -> None:
        while True:
            try:
                packet = self._socket.recv(65536)
            except BlockingIOError:
                return
            for message in OscBundle(packet):
                if message.address == "/VMC/Ext/OK":
                    self.note(VMC_STATES[tuple(message.params)])


class ZeroMQListener(Listener):
    """A subscriber of poses: "lost" is a person of that state."""

    def __init__(self, stack: ExitStack, endpoint: str, topic: bytes = b"pose3d/") -> None:
        super().__init__()
        context = stack.enter_context(zmq.Context())
        self._socket = stack.enter_context(context.socket(zmq.SUB))
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RECONNECT_IVL_MAX, 1000)
        self._socket.set(zmq.HEARTBEAT_IVL, 1000)  # as stream.client: a cut connection is made anew
        self._socket.set(zmq.HEARTBEAT_TIMEOUT, 3000)
        self._socket.subscribe(topic)
        self._socket.connect(endpoint)

    def read(self) -> None:
        while self._socket.poll(0):
            self.note_message(self._socket.recv_multipart())

    def note_message(self, parts: list[bytes]) -> None:
        document = msgspec.msgpack.decode(parts[1])
        states = {person["state"] for person in document["persons"]}
        if "lost" in states:
            self.note("lost")
        if states - {"lost"}:
            self.note_pose(document["t_capture_ns"])


class SONICListener(ZeroMQListener):
    """The receiver of a robot's controller: the protocol has no word but poses."""

    def __init__(self, stack: ExitStack, endpoint: str) -> None:
        super().__init__(stack, endpoint, b"pose")

    def note_message(self, parts: list[bytes]) -> None:
        self.note("pose")


class MQTTListener(Listener):
    """A client of the broker: "lost" events, "no person" as the count, and the state of the sender."""

    def __init__(self, stack: ExitStack, host: str, port: int) -> None:
        super().__init__()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda *_: self._client.subscribe("#", qos=1)
        self._client.on_message = lambda _, __, message: self._on_message(message)
        self._client.connect(host, port)
        self._client.loop_start()
        stack.callback(self._client.loop_stop)
        stack.callback(self._client.disconnect)

    def read(self) -> None:
        """Messages are noted by the client's own thread."""

    def _on_message(self, message: paho.MQTTMessage) -> None:
        last = message.topic.rsplit("/", 1)[1]
        if last == "available":
            self.note(message.payload.decode())
        elif last == "persons" and message.payload == b"0":
            self.note("no person")
        elif last == "events":
            event = msgspec.json.decode(message.payload)["event_type"]
            self.note(*(["lost"] if event == "lost" else []))
        elif last == "pose3d":
            document = msgspec.json.decode(message.payload)
            if any(person["state"] != "lost" for person in document["persons"]):
                self.note_pose(document["t_capture_ns"])


class ROS2Listener(Listener):
    """A DDS subscriber: "deleted" markers and "none tracked".

    At the end of the words stand "no body topics" when topics of a person have ended, and "no topics" when
    /tf has.
    """

    def __init__(
        self, stack: ExitStack, domain: int, interface: str = "", peers: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        # The sink has set up the domain already when it runs in this process.
        self._domain = Domain(domain, configuration(interface, peers)) if interface else None
        self._participant = DomainParticipant(domain)
        self._readers = {
            topic: self._reader(topic, name)
            for topic, name in (
                ("/tf", "tf2_msgs/msg/TFMessage"),
                ("/poselift/markers", "visualization_msgs/msg/MarkerArray"),
                ("/humans/bodies/tracked", "hri_msgs/msg/IdsList"),
            )
        }
        self._publications = BuiltinDataReader(self._participant, BuiltinTopicDcpsPublication)
        stack.callback(self._leave)
        self._topics: dict[int, str] = {}
        self._ended: set[str] = set()
        self.marker_lifetimes_s: set[float] = set()

    def words(self) -> list[str]:
        return [*super().words(), *sorted(self._ended)]

    def forget(self) -> None:
        super().forget()
        self._ended = set()

    def _leave(self) -> None:
        """Leave the domain now, even if a failed test still refers to this listener."""
        self._readers = {}
        self._publications = self._participant = self._domain = None

    def _reader(self, topic: str, name: str) -> DataReader:
        kind = dds_struct(name.replace("/msg/", "/"), dds_type(name))
        qos = Qos(
            Policy.Reliability.Reliable(max_blocking_time=0),
            Policy.Durability.Volatile,
            Policy.History.KeepAll,
        )
        return DataReader(self._participant, Topic(self._participant, f"rt{topic}", kind), qos=qos)

    def read(self) -> None:
        for topic, reader in self._readers.items():
            for sample in reader.take(1000):
                if sample.sample_info.valid_data:
                    self._note_sample(topic, sample)
        self._note_topics()

    def _note_sample(self, topic: str, sample: Any) -> None:
        if topic == "/tf":
            stamp = sample.transforms[0].header.stamp
            self.note_pose(stamp.sec * 10**9 + stamp.nanosec)
        elif topic == "/humans/bodies/tracked":
            self.note(*([] if sample.ids else ["none tracked"]))
        else:
            self.marker_lifetimes_s |= {
                marker.lifetime.sec + marker.lifetime.nanosec / 1e9
                for marker in sample.markers
                if marker.action == 0
            }
            if any(marker.action == 2 for marker in sample.markers):
                self.note("deleted")

    def _note_topics(self) -> None:
        before = set(self._topics.values())
        for sample in self._publications.take(1000):
            handle = sample.sample_info.instance_handle
            if sample.sample_info.valid_data:
                self._topics[handle] = sample.topic_name
            else:
                self._topics.pop(handle, None)
        ended = before - set(self._topics.values())
        if any(topic.endswith("/urdf") for topic in ended):
            self._ended.add("no body topics")
        if "rt/tf" in ended:
            self._ended.add("no topics")


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the awaited state did not come"
        time.sleep(0.01)


@contextmanager
def listening(
    kind: str, broker: Mosquitto, domain: int, **changes: Any
) -> Iterator[tuple[Sink, Callable[[ExitStack], Listener]]]:
    """An open sink in this process, and what makes a listener to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        vmc_port = free.getsockname()[1]
    settings: dict[str, Any] = {
        "zeromq": {"port": 0},
        "sonic": {"port": 0},
        "vmc": {"port": vmc_port},
        "mqtt": {"port": broker.port},
        "ros2": {"domain": domain},
    }[kind]
    make = import_component(SINKS[kind])
    with opened(make(make.Settings(**settings, **changes), ComponentContext(kind))) as sink:
        listeners: dict[str, Callable[[ExitStack], Listener]] = {
            "zeromq": lambda stack: ZeroMQListener(stack, sink.endpoint),
            "sonic": lambda stack: SONICListener(stack, sink.endpoint),
            "vmc": lambda stack: VMCListener(stack, port=vmc_port),
            "mqtt": lambda stack: MQTTListener(stack, broker.host, broker.port),
            "ros2": lambda stack: ROS2Listener(stack, domain),
        }
        yield sink, listeners[kind]


def captured(frame: PoseFrame, seconds_ago: float) -> PoseFrame:
    """The frame as if it had been captured some seconds ago."""
    captured_ns = time.time_ns() - round(seconds_ago * 1e9)
    return replace(frame, header=replace(frame.header, captured_unix_ns=captured_ns))
