"""Subscribers of a soaked node on ZeroMQ and MQTT, and the count of what they must not see."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import zmq

STALE_S = 10.0  # an `ok` pose that arrives this long after its capture; limits of the node are 2 to 3 s
LATE_S = 15.0  # between the last detection of a person and the announcement of the loss


class _Person(msgspec.Struct):
    id: str
    state: str


class _Poses(msgspec.Struct):
    """The part of a pose3d document that the counts need."""

    source: str
    session: str
    t_capture_ns: int
    persons: list[_Person]


@dataclass
class Checker:
    """Counts what a subscriber must not see. name: of the transport. complete: whether all poses come."""

    name: str
    complete: bool
    poses: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    oldest_s: float = 0.0
    latest_loss_s: float = 0.0
    examples: list[str] = field(default_factory=list)
    drops: dict[str, int] = field(default_factory=dict)  # of the node, by its last status message
    _present: dict[tuple[str, str], int] = field(default_factory=dict)  # last detection, unix ns
    _lost: set[tuple[str, str]] = field(default_factory=set)

    def take(self, poses: _Poses) -> None:
        """Check one message, which has just arrived."""
        self.poses += 1
        age_s = (time.time_ns() - poses.t_capture_ns) / 1e9
        if any(person.state in ("new", "ok") for person in poses.persons):
            self.oldest_s = max(self.oldest_s, age_s)
            if age_s > STALE_S:
                self._fault("stale", f"{poses.source}: {age_s:.1f} s old")
        for person in poses.persons:
            key = poses.source, person.id
            if person.state in ("new", "ok"):
                if key in self._lost:
                    self._fault("back_after_lost", f"{key}")
                self._present[key] = poses.t_capture_ns
            elif person.state == "lost":
                if key in self._lost:
                    self._fault("lost_twice", f"{key}")
                self._lost.add(key)
                self._check_loss(key, poses.t_capture_ns)
        if self.complete:
            self._check_missing(poses)

    def _check_loss(self, key: tuple[str, str], at_ns: int) -> None:
        last_ns = self._present.pop(key, at_ns)
        self.latest_loss_s = max(self.latest_loss_s, (at_ns - last_ns) / 1e9)
        if at_ns - last_ns > LATE_S * 1e9:
            self._fault("late_loss", f"{key}: {(at_ns - last_ns) / 1e9:.1f} s")

    def _check_missing(self, poses: _Poses) -> None:
        """People of the source who are neither in its newest frames nor lost."""
        for key, last_ns in list(self._present.items()):
            if key[0] == poses.source and poses.t_capture_ns - last_ns > LATE_S * 1e9:
                del self._present[key]
                self._fault("never_lost", f"{key}")

    def _fault(self, kind: str, text: str) -> None:
        self.faults[kind] += 1
        if len(self.examples) < 10:
            self.examples.append(f"{self.name} {kind}: {text}")


def check_zeromq(port: int, checker: Checker, stop: threading.Event) -> None:
    decode = msgspec.msgpack.Decoder(_Poses).decode
    receiver: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    receiver.set(zmq.RCVHWM, 0)
    receiver.subscribe(b"pose3d/")
    receiver.subscribe(b"status/")
    receiver.connect(f"tcp://127.0.0.1:{port}")
    while not stop.is_set():
        if receiver.poll(200):
            kind, payload = receiver.recv_multipart()
            if kind.startswith(b"pose3d/"):
                checker.take(decode(payload))
            else:
                counters = msgspec.msgpack.decode(payload)["report"]["counters"]
                checker.drops = {name: count for name, count in counters.items() if ".drop." in name}
    receiver.close(0)


def check_mqtt(port: int, checker: Checker, stop: threading.Event) -> None:
    import paho.mqtt.client as paho

    decode = msgspec.json.Decoder(_Poses).decode
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda client, *_: client.subscribe("poselift/+/pose3d")
    client.on_message = lambda client, data, message: checker.take(decode(message.payload))
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    stop.wait()
    client.loop_stop()
