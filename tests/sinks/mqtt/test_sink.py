"""Against a real broker on loopback; the listener knows only paho and json."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as paho
import pytest

from sinks.mqtt import MQTT
from stream.clock import FakeClock
from stream.errors import ConfigError, SinkUnavailable
from stream.health import Health
from stream.messages import Header
from stream.protocols import ComponentContext
from tests.examples import NOW_NS, UNIX_NS, meta, pose, pose_frame, status
from tests.golden import wire as golden

WAIT_S = 20.0  # how long a message may take on a busy machine; nothing waits that long when all is well


class Heard(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool


class Listener:
    """A second client, subscribed to everything with QoS 1."""

    def __init__(self, port: int, user: str | None = None, password: str | None = None) -> None:
        self._heard: queue.Queue[Heard] = queue.Queue()
        subscribed = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.username_pw_set(user, password)
        self.client.on_connect = lambda *_: self.client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = lambda _, __, m: self._heard.put(Heard(m.topic, m.payload, m.qos, m.retain))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(WAIT_S)

    def until(self, topic: str, payload: bytes | None = None) -> list[Heard]:
        """Everything heard up to the message with this topic, and this payload if given."""
        heard = []
        while True:
            heard.append(self._heard.get(timeout=WAIT_S))
            if heard[-1].topic == topic and payload in (None, heard[-1].payload):
                return heard

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(*args: object) -> Listener:
        listeners.append(Listener(*args))  # type: ignore[arg-type]
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


class Watched(Health):
    """A health whose states can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._now: dict[str, tuple[str, str]] = {}

    def set_state(self, place: str, state: str, detail: str = "") -> None:
        super().set_state(place, state, detail)
        with self._changed:
            self._now[place] = (state, detail)
            self._changed.notify_all()

    def await_state(self, state: str, detail: str = "") -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: self._now.get("mqtt", ("", ""))[0] == state and detail in self._now["mqtt"][1], WAIT_S
            ), self._now


def sink(port: int, health: Health | None = None, **settings: object) -> MQTT:
    context = ComponentContext("mqtt", clock=FakeClock(), health=health or Health())
    return MQTT(MQTT.Settings(port=port, **settings), context)


def seen(seq: int, *ids: str) -> object:
    """A frame a second after the one before, so that none is thinned out."""
    header = Header("cam0", seq, NOW_NS + seq * 10**9, UNIX_NS + seq * 10**9)
    return pose_frame(header=header, persons=tuple(pose(id) for id in ids))


def seqs(heard: list[Heard]) -> list[int]:
    return [json.loads(each.payload)["seq"] for each in heard if each.topic.endswith("/pose3d")]


def test_everything_is_published_where_the_table_says(mosquitto, listen):
    listener, health = listen(mosquitto.port), Watched()
    with sink(mosquitto.port, health) as opened:
        health.await_state("ok")
        for message in (meta(), pose_frame(), status()):
            opened.send(message)
        heard = listener.until("poselift/stats")
    heard += listener.until("poselift/available", b"stopped")
    entered = {"event_type": "new", "id": "a3f9k", "source": "cam0", "t_capture_ns": UNIX_NS - 20_000_000}
    assert heard == [
        ("poselift/available", b"online", 1, False),
        ("poselift/cam0/meta", golden.JSON["meta"], 1, False),
        ("poselift/cam0/events", json.dumps(entered, separators=(",", ":")).encode(), 1, False),
        ("poselift/cam0/persons", b"1", 0, False),
        ("poselift/cam0/pose3d", golden.JSON["pose3d"], 0, False),
        ("poselift/stats", golden.JSON["status"], 0, False),
        ("poselift/available", b"stopped", 1, False),
    ]


def test_a_late_joiner_finds_what_is_retained_and_no_pose(mosquitto, listen):
    listener, health = listen(mosquitto.port), Watched()
    with sink(mosquitto.port, health) as opened:
        health.await_state("ok")
        for message in (meta(), pose_frame(), status()):
            opened.send(message)
        listener.until("poselift/stats")
        late = listen(mosquitto.port)
        late.client.publish("done")
        heard = late.until("done")[:-1]
    assert sorted(heard) == [
        ("poselift/available", b"online", 1, True),
        ("poselift/cam0/meta", golden.JSON["meta"], 1, True),
        ("poselift/cam0/persons", b"1", 0, True),
    ]


def test_a_broker_that_died_hears_everything_that_must_be_retained_and_no_old_pose(mosquitto, listen):
    listener, health = listen(mosquitto.port), Watched()
    with sink(mosquitto.port, health) as opened:
        health.await_state("ok")
        opened.send(meta())
        opened.send(seen(1, "a"))
        listener.until("poselift/cam0/pose3d")
        mosquitto.stop()
        health.await_state("retrying")
        for seq in (2, 3):
            opened.send(seen(seq, "a", "b"))
        mosquitto.start()
        listener = listen(mosquitto.port)
        health.await_state("ok")
        opened.send(seen(4, "a", "b"))
        heard = listener.until("poselift/cam0/pose3d")
    told = {(each.topic, each.payload) for each in heard[:-1]}
    assert told == {
        ("poselift/available", b"online"),
        ("poselift/cam0/meta", golden.JSON["meta"]),
        ("poselift/cam0/persons", b"2"),
    }
    assert seqs(heard) == [4]
    # Two poses, and the event that b came.
    assert health.counter("mqtt", "drop.disconnected") == 3


def test_poses_before_the_first_connection_are_not_kept(mosquitto, listen):
    health = Watched()
    mosquitto.stop()
    with sink(mosquitto.port, health) as opened:
        health.await_state("retrying", "Connect call failed")
        opened.send(seen(1, "a"))
        mosquitto.start()
        listener = listen(mosquitto.port)
        health.await_state("ok")
        opened.send(seen(2, "a"))
        assert seqs(listener.until("poselift/cam0/pose3d")) == [2]


def test_a_program_that_is_killed_leaves_offline_behind(mosquitto, listen):
    script = f"""
from sinks.mqtt import MQTT
from stream.protocols import ComponentContext
import threading
with MQTT(MQTT.Settings(port={mosquitto.port}), ComponentContext("mqtt")):
    threading.Event().wait()
"""
    root = Path(__file__).parents[3]
    listener = listen(mosquitto.port)
    with subprocess.Popen([sys.executable, "-c", script], cwd=root) as program:
        listener.until("poselift/available", b"online")
        os.kill(program.pid, signal.SIGKILL)
        listener.until("poselift/available", b"offline")


def test_closing_lets_out_what_is_queued_and_says_stopped(mosquitto, listen):
    listener, health = listen(mosquitto.port), Watched()
    with sink(mosquitto.port, health) as opened:
        health.await_state("ok")
        for seq in range(20):
            opened.send(seen(seq, "a"))
    assert seqs(listener.until("poselift/available", b"stopped")) == list(range(20))
    opened.__exit__(None, None, None)
    with pytest.raises(SinkUnavailable, match="is not open"):
        opened.send(status())
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("mqtt:")] == []


def test_home_assistant_is_told_again_when_it_starts(mosquitto, listen):
    listener, health = listen(mosquitto.port), Watched()
    config = "homeassistant/device/poselift/config"
    with sink(mosquitto.port, health, discovery=True) as opened:
        health.await_state("ok")
        opened.send(meta())
        first = listener.until(config)[-1]
        listener.client.publish("homeassistant/status", b"online")
        again = listener.until(config)[-1]
    assert (first.payload, first.qos) == (again.payload, again.qos)
    assert list(json.loads(first.payload)["components"]) == ["cam0_persons", "cam0_presence", "cam0_events"]


def test_a_stalled_broker_costs_the_oldest_messages_and_blocks_nobody():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        health = Watched()
        with sink(listening.getsockname()[1], health) as opened:
            # Accepts the client, answers its CONNECT, and never again.
            threading.Thread(target=accept_and_stall, args=(listening,), daemon=True).start()
            health.await_state("ok")
            for seq in range(100):
                opened.send(seen(seq, "a"))
            assert health.counter("mqtt", "drop.broker_slow") > 0


def accept_and_stall(listening: socket.socket) -> None:
    first, _ = listening.accept()  # only looks whether somebody is there
    first.close()
    client, _ = listening.accept()
    client.recv(1024)
    client.sendall(b"\x20\x02\x00\x00")  # CONNACK
    threading.Event().wait()


def test_a_user_needs_the_right_password(guarded_mosquitto, listen, monkeypatch, caplog):
    monkeypatch.setenv("POSELIFT_MQTT_PASSWORD", "coffee-time")
    health = Watched()
    with sink(guarded_mosquitto.port, health, username="robot"):
        health.await_state("retrying", "check username and POSELIFT_MQTT_PASSWORD")
    monkeypatch.setenv("TEA", "tea-time")
    listener = listen(guarded_mosquitto.port, "robot", "tea-time")
    with sink(guarded_mosquitto.port, health, username="robot", password_env="TEA"):
        listener.until("poselift/available", b"online")
    assert "coffee-time" not in caplog.text
    assert "tea-time" not in caplog.text


def test_tls_checks_the_brokers_certificate(tls_mosquitto):
    health = Watched()
    with sink(tls_mosquitto.port, health, tls=True, ca_file=str(tls_mosquitto.certificate)):
        health.await_state("ok")
    with sink(tls_mosquitto.port, health, tls=True):
        health.await_state("retrying", "CERTIFICATE_VERIFY_FAILED")


def test_closing_does_not_wait_for_a_broker_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    health = Watched()
    opened = sink(port, health).__enter__()
    health.await_state("retrying")
    opened.__exit__(None, None, None)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("mqtt:")] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": 0}, "mqtt port: expected 1 to 65535, got 0"),
        ({"max_hz": 0}, "mqtt max_hz: expected above 0 and at most 1000, got 0"),
        ({"prefix": "home/#"}, r"mqtt prefix: expected the beginning of a topic.*got 'home/#'"),
        ({"discovery_prefix": ""}, "mqtt discovery_prefix: expected the beginning of a topic"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        MQTT.Settings(**settings)


def test_a_password_that_is_not_set_and_a_certificate_that_is_not_there_are_said(monkeypatch):
    monkeypatch.delenv("POSELIFT_MQTT_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="variable POSELIFT_MQTT_PASSWORD, which is not set"):
        sink(1883, username="robot")
    with pytest.raises(ConfigError, match=r"mqtt ca_file: /nowhere.pem cannot be read"):
        sink(1883, tls=True, ca_file="/nowhere.pem")


def test_a_password_in_the_clear_warns(caplog, monkeypatch):
    monkeypatch.setenv("TEA", "tea-time")
    with sink(1, host="192.0.2.1", username="robot", password_env="TEA"):
        assert "the password for mqtt://192.0.2.1:1/poselift travels unencrypted; set tls" in caplog.text
