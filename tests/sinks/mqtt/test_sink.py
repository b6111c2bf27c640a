"""The MQTT sink with a real broker on loopback; the listener uses only paho and json."""

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
from stream.messages import Header, PoseFrame
from stream.protocols import ComponentContext, opened
from tests.examples import NOW_NS, UNIX_NS, meta, pose, pose_frame, status
from tests.golden import wire as golden

WAIT_S = 20.0  # generous for a busy machine; a passing test waits for events alone


class Received(NamedTuple):
    """One message as the listener received it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Listener:
    """A second client, subscribed to all topics with QoS 1."""

    def __init__(self, port: int, user: str | None = None, password: str | None = None) -> None:
        self._received: queue.Queue[Received] = queue.Queue()
        subscribed = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.username_pw_set(user, password)
        self.client.on_connect = lambda *_: self.client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = lambda _, __, m: self._received.put(
            Received(m.topic, m.payload, m.qos, m.retain)
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(WAIT_S)

    def until(self, topic: str, payload: bytes | None = None) -> list[Received]:
        """All messages up to the first with this topic, and with this payload unless it is None."""
        messages = []
        while True:
            messages.append(self._received.get(timeout=WAIT_S))
            if messages[-1].topic == topic and payload in (None, messages[-1].payload):
                return messages

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


class WatchedHealth(Health):
    """A Health whose states a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._states_now: dict[str, tuple[str, str]] = {}

    def set_state(self, component: str, state: str, detail: str = "") -> None:
        super().set_state(component, state, detail)
        with self._changed:
            self._states_now[component] = (state, detail)
            self._changed.notify_all()

    def await_state(self, state: str, detail: str = "") -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._matches(state, detail), WAIT_S), self._states_now

    def _matches(self, state: str, detail: str) -> bool:
        current_state, current_detail = self._states_now.get("mqtt", ("", ""))
        return current_state == state and detail in current_detail


def sink(port: int, health: Health | None = None, **settings: object) -> MQTT:
    context = ComponentContext("mqtt", clock=FakeClock(), health=health or Health())
    # The example poses are years old.
    return MQTT(MQTT.Settings(port=port, **{"max_age_ms": None} | settings), context)


def frame_of(seq: int, *ids: str) -> PoseFrame:
    """A frame captured at `seq` seconds, slow enough that max_hz drops none."""
    header = Header("cam0", seq, NOW_NS + seq * 10**9, UNIX_NS + seq * 10**9)
    return pose_frame(header=header, persons=tuple(pose(id) for id in ids))


def seqs(messages: list[Received]) -> list[int]:
    """`seq` of the pose documents among the messages."""
    return [json.loads(message.payload)["seq"] for message in messages if message.topic.endswith("/pose3d")]


def test_every_message_is_published_under_its_topic(mosquitto, listen):
    listener, health = listen(mosquitto.port), WatchedHealth()
    with opened(sink(mosquitto.port, health)) as mqtt:
        health.await_state("ok")
        for message in (meta(), pose_frame(), status()):
            mqtt.send(message)
        messages = listener.until("poselift/stats")
    messages += listener.until("poselift/available", b"stopped")
    event = {"event_type": "new", "id": "a3f9k", "source": "cam0", "t_capture_ns": UNIX_NS - 20_000_000}
    assert messages == [
        ("poselift/available", b"online", 1, False),
        ("poselift/cam0/meta", golden.JSON["meta"], 1, False),
        ("poselift/cam0/events", json.dumps(event, separators=(",", ":")).encode(), 1, False),
        ("poselift/cam0/persons", b"1", 0, False),
        ("poselift/cam0/pose3d", golden.JSON["pose3d"], 0, False),
        ("poselift/stats", golden.JSON["status"], 0, False),
        ("poselift/cam0/persons", b"0", 0, False),
        ("poselift/available", b"stopped", 1, False),
    ]


def test_a_late_joiner_gets_the_retained_messages_and_no_pose(mosquitto, listen):
    listener, health = listen(mosquitto.port), WatchedHealth()
    with opened(sink(mosquitto.port, health)) as mqtt:
        health.await_state("ok")
        for message in (meta(), pose_frame(), status()):
            mqtt.send(message)
        listener.until("poselift/stats")
        late = listen(mosquitto.port)
        late.client.publish("done")
        messages = late.until("done")[:-1]
    assert sorted(messages) == [
        ("poselift/available", b"online", 1, True),
        ("poselift/cam0/meta", golden.JSON["meta"], 1, True),
        ("poselift/cam0/persons", b"1", 0, True),
    ]


def test_a_restarted_broker_gets_all_retained_messages_and_no_old_pose(mosquitto, listen):
    listener, health = listen(mosquitto.port), WatchedHealth()
    with opened(sink(mosquitto.port, health)) as mqtt:
        health.await_state("ok")
        mqtt.send(meta())
        mqtt.send(frame_of(1, "a"))
        listener.until("poselift/cam0/pose3d")
        mosquitto.stop()
        health.await_state("retrying")
        for seq in (2, 3):
            mqtt.send(frame_of(seq, "a", "b"))
        mosquitto.start()
        listener = listen(mosquitto.port)
        health.await_state("ok")
        mqtt.send(frame_of(4, "a", "b"))
        messages = listener.until("poselift/cam0/pose3d")
    assert {(message.topic, message.payload) for message in messages[:-1]} == {
        ("poselift/available", b"online"),
        ("poselift/cam0/meta", golden.JSON["meta"]),
        ("poselift/cam0/persons", b"2"),
    }
    assert seqs(messages) == [4]
    # Two poses and the event of person b.
    assert health.counter("mqtt", "drop.disconnected") == 3


def test_a_connection_publishes_more_retained_messages_than_fit_into_the_queue(mosquitto, listen):
    health = WatchedHealth()
    mosquitto.stop()
    with opened(sink(mosquitto.port, health)) as mqtt:
        health.await_state("retrying", "Connect call failed")
        for number in range(100):
            mqtt.send(meta(f"cam{number}"))
        mosquitto.start()
        listener = listen(mosquitto.port)
        last = listener.until("poselift/cam99/meta")[-1]
        health.await_state("ok")
    assert json.loads(last.payload)["source"] == "cam99"
    assert health.dropped("mqtt") == 0


def test_poses_before_the_first_connection_are_dropped(mosquitto, listen):
    health = WatchedHealth()
    mosquitto.stop()
    with opened(sink(mosquitto.port, health)) as mqtt:
        health.await_state("retrying", "Connect call failed")
        mqtt.send(frame_of(1, "a"))
        mosquitto.start()
        listener = listen(mosquitto.port)
        health.await_state("ok")
        mqtt.send(frame_of(2, "a"))
        assert seqs(listener.until("poselift/cam0/pose3d")) == [2]


def test_the_broker_publishes_offline_when_the_program_is_killed(mosquitto, listen):
    script = f"""
from sinks.mqtt import MQTT
from stream.protocols import ComponentContext
import threading
MQTT(MQTT.Settings(port={mosquitto.port}), ComponentContext("mqtt")).open()
threading.Event().wait()
"""
    root = Path(__file__).parents[3]
    listener = listen(mosquitto.port)
    with subprocess.Popen([sys.executable, "-c", script], cwd=root) as program:
        listener.until("poselift/available", b"online")
        os.kill(program.pid, signal.SIGKILL)
        listener.until("poselift/available", b"offline")
    late = listen(mosquitto.port)  # the last will is retained for later subscribers
    late.client.publish("done")
    assert late.until("done")[:-1] == [("poselift/available", b"offline", 1, True)]


def test_closing_publishes_the_queue_and_stopped(mosquitto, listen):
    listener, health = listen(mosquitto.port), WatchedHealth()
    with opened(sink(mosquitto.port, health)) as mqtt:
        health.await_state("ok")
        for seq in range(20):
            mqtt.send(frame_of(seq, "a"))
    assert seqs(listener.until("poselift/available", b"stopped")) == list(range(20))
    mqtt.close()
    with pytest.raises(SinkUnavailable, match="is not open"):
        mqtt.send(status())
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("mqtt:")] == []


def test_discovery_is_published_again_when_home_assistant_starts(mosquitto, listen):
    listener, health = listen(mosquitto.port), WatchedHealth()
    config = "homeassistant/device/poselift/config"
    with opened(sink(mosquitto.port, health, discovery=True)) as mqtt:
        health.await_state("ok")
        mqtt.send(meta())
        first = listener.until(config)[-1]
        listener.client.publish("homeassistant/status", b"online")
        again = listener.until(config)[-1]
    assert (first.payload, first.qos) == (again.payload, again.qos)
    assert list(json.loads(first.payload)["components"]) == [
        "health",
        "age",
        "cam0_persons",
        "cam0_presence",
        "cam0_events",
        "cam0_camera",
    ]


def test_a_stalled_broker_blocks_no_sender_and_the_oldest_messages_are_dropped():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        health = WatchedHealth()
        with opened(sink(listening.getsockname()[1], health)) as mqtt:
            # Answers the client's CONNECT and nothing else.
            threading.Thread(target=accept_and_stall, args=(listening,), daemon=True).start()
            health.await_state("ok")
            for seq in range(100):
                mqtt.send(frame_of(seq, "a"))
            assert health.counter("mqtt", "drop.broker_slow") > 0


def accept_and_stall(listening: socket.socket) -> None:
    probe, _ = listening.accept()
    probe.close()
    client, _ = listening.accept()
    client.recv(1024)
    client.sendall(b"\x20\x02\x00\x00")  # CONNACK
    threading.Event().wait()


def test_a_wrong_password_is_reported_and_no_password_is_logged(
    guarded_mosquitto, listen, monkeypatch, caplog
):
    monkeypatch.setenv("POSELIFT_MQTT_PASSWORD", "coffee-time")
    health = WatchedHealth()
    with opened(sink(guarded_mosquitto.port, health, username="robot")):
        health.await_state("retrying", "check username and POSELIFT_MQTT_PASSWORD")
    monkeypatch.setenv("TEA", "tea-time")
    listener = listen(guarded_mosquitto.port, "robot", "tea-time")
    with opened(sink(guarded_mosquitto.port, health, username="robot", password_env="TEA")):
        listener.until("poselift/available", b"online")
    assert "coffee-time" not in caplog.text
    assert "tea-time" not in caplog.text


def test_tls_checks_the_brokers_certificate(tls_mosquitto):
    health = WatchedHealth()
    with opened(sink(tls_mosquitto.port, health, tls=True, ca_file=str(tls_mosquitto.certificate))):
        health.await_state("ok")
    with opened(sink(tls_mosquitto.port, health, tls=True)):
        health.await_state("retrying", "CERTIFICATE_VERIFY_FAILED")


def test_closing_does_not_wait_for_an_absent_broker():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    health = WatchedHealth()
    mqtt = sink(port, health)
    mqtt.open()
    health.await_state("retrying")
    mqtt.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("mqtt:")] == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"port": 0}, "mqtt port: expected 1 to 65535, got 0"),
        ({"max_hz": 0}, "mqtt max_hz: expected above 0 and at most 1000, got 0"),
        ({"prefix": "home/#"}, r"mqtt prefix: expected the beginning of a topic.*got 'home/#'"),
        ({"viewer_url": "localhost"}, "mqtt viewer_url: expected an address"),
        ({"discovery_prefix": ""}, "mqtt discovery_prefix: expected the beginning of a topic"),
    ],
)
def test_wrong_settings_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        MQTT.Settings(**settings)


def test_a_missing_password_or_certificate_is_an_error_at_construction(monkeypatch):
    monkeypatch.delenv("POSELIFT_MQTT_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="variable POSELIFT_MQTT_PASSWORD, which is not set"):
        sink(1883, username="robot")
    with pytest.raises(ConfigError, match=r"mqtt ca_file: /nowhere.pem cannot be read"):
        sink(1883, tls=True, ca_file="/nowhere.pem")


def test_an_unencrypted_password_logs_a_warning(caplog, monkeypatch):
    monkeypatch.setenv("TEA", "tea-time")
    with opened(sink(1, host="192.0.2.1", username="robot", password_env="TEA")):
        assert "the password for mqtt://192.0.2.1:1/poselift travels unencrypted; set tls" in caplog.text
