"""The MQTT source against a real broker on loopback; the sender uses only paho and msgpack."""

import json
import logging
import threading
from collections.abc import Callable, Iterator

import msgpack
import numpy as np
import paho.mqtt.client as paho
import pytest

from sources.mqtt import MQTT
from stream.clock import FakeClock
from stream.errors import ConfigError, SourceLost, SourceUnavailable
from stream.health import Health
from stream.messages import Header, KeypointFrame
from stream.protocols import ComponentContext, opened

TIMEOUT_S = 10.0  # for a message on a busy machine; tests that pass do not wait this long
TOPIC = "poselift/cam0/keypoints2d"
Send = Callable[..., None]


@pytest.fixture
def send(mosquitto) -> Iterator[Send]:
    """A function that publishes a payload and waits until the broker has received it."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()

    def publish(payload: bytes, topic: str = TOPIC, retain: bool = False) -> None:
        client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(TIMEOUT_S)

    yield publish
    client.disconnect()
    client.loop_stop()


def document(**changes: object) -> dict[str, object]:
    kp = np.zeros((17, 3), "<f4")
    kp[:, 2] = 0.5
    return {
        "v": 1, "schema": "keypoints2d", "source": "cam0", "seq": 1, "t_capture_ns": 1,
        "size_wh": [640, 480], "skeleton": "coco17", "persons": [{"kp": kp.tobytes(), "id": "a3f9k"}],
    } | changes  # fmt: skip


def packed(**changes: object) -> bytes:
    return msgpack.packb({key: value for key, value in document(**changes).items() if value is not None})


def mqtt_source(
    broker, clock: FakeClock | None = None, health: Health | None = None, **settings: object
) -> MQTT:
    context = ComponentContext("network", clock=clock or FakeClock(), health=health or Health())
    return MQTT(MQTT.Settings(host=broker.host, port=broker.port, **settings), context)


def read(source: MQTT) -> KeypointFrame:
    frame = source.read(TIMEOUT_S)
    assert frame is not None
    return frame


def test_keypoints_of_another_program_arrive_complete(mosquitto, send):
    clock = FakeClock(now_ns=50_000_000_000, unix_ns=1_700_000_000_000_000_000)
    with opened(mqtt_source(mosquitto, clock)) as source:
        assert source.live
        send(packed(seq=41, t_capture_ns=1_699_999_999_970_000_000))
        frame = read(source)
    # Captured 30 ms ago by both wall clocks, so 30 ms before now on this machine's monotonic clock.
    assert frame.header == Header("cam0", 41, 49_970_000_000, 1_699_999_999_970_000_000)
    assert frame.detected_ns == 50_000_000_000
    assert (frame.size_wh, frame.skeleton, frame.persons[0].id) == ((640, 480), "coco17", "a3f9k")
    np.testing.assert_array_equal(frame.persons[0].score, np.full(17, 0.5))


def test_keypoints_as_json_are_decoded(mosquitto, send):
    with opened(mqtt_source(mosquitto)) as source:
        send(json.dumps(document(persons=[{"kp": [[1, 2, 0.5]] * 16 + [[None, None, 0]]}])).encode())
        frame = read(source)
    np.testing.assert_array_equal(frame.persons[0].xy[:16], np.tile(np.float32([1, 2]), (16, 1)))
    assert np.isnan(frame.persons[0].xy[16]).all()


def test_every_camera_keeps_its_name_and_a_message_without_one_gets_the_name_of_the_source(mosquitto, send):
    with opened(mqtt_source(mosquitto)) as source:
        send(packed(source="cam1"), "poselift/cam1/keypoints2d")
        send(packed(source="cam2"), "poselift/cam2/keypoints2d")
        send(packed(source=None), "poselift/cam3/keypoints2d")
        send(packed(source="cam4"), "poselift/cam4/pose3d")
        send(packed(source="cam5"), "poselift/cam5/keypoints2d")
        assert [read(source).header.source for _ in range(4)] == ["cam1", "cam2", "network", "cam5"]


@pytest.mark.parametrize(("version", "received"), [(5, 0), (3, 1)])
def test_the_broker_holds_back_messages_above_1_mb_with_version_5(mosquitto, send, version, received):
    health = Health()
    with opened(mqtt_source(mosquitto, health=health, version=version)) as source:
        send(b"x" * 20_000_000)
        send(packed(seq=77))
        assert read(source).header.seq == 77
    assert health.counter("network", "drop.junk") == received


def test_invalid_messages_are_counted_and_the_first_is_logged(mosquitto, send, caplog):
    health = Health()
    invalid = [b"", b"junk", packed(v=2), packed()[:-9], packed(skeleton="coco18"), packed(skeleton="body25")]
    with (
        caplog.at_level(logging.WARNING, "poselift"),
        opened(mqtt_source(mosquitto, health=health)) as source,
    ):
        for payload in invalid:
            send(payload)
        send(packed(seq=77))
        assert read(source).header.seq == 77
    assert health.counter("network", "drop.junk") == len(invalid)
    assert [record.getMessage()[:36] for record in caplog.records] == ["network: dropped an invalid message:"]


def test_a_retained_message_is_ignored_and_counted_because_its_age_is_unknown(mosquitto, send):
    health = Health()
    send(packed(seq=1), retain=True)
    with opened(mqtt_source(mosquitto, health=health)) as source:
        send(packed(seq=2))
        assert read(source).header.seq == 2
    assert health.counter("network", "drop.retained") == 1


def test_a_slow_reader_gets_the_newest_messages_and_the_others_are_counted_as_dropped(mosquitto, send):
    health = Health()
    with opened(mqtt_source(mosquitto, health=health)) as source:
        for seq in range(1000):
            send(packed(seq=seq))
        seqs = [read(source).header.seq]
        while seqs[-1] != 999:
            seqs.append(read(source).header.seq)
    assert seqs == sorted(seqs)
    assert len(seqs) < 1000
    assert len(seqs) + health.counter("network", "drop.reader_behind") == 1000


def test_a_source_without_messages_for_too_long_is_lost(mosquitto, send):
    clock = FakeClock()
    with opened(mqtt_source(mosquitto, clock, timeout_s=2.0)) as source:
        send(packed())
        read(source)
        clock.advance(2.0)
        assert source.read(0) is None
        clock.advance(0.5)
        with pytest.raises(SourceLost, match=r"poselift/\+/keypoints2d: no keypoints for 2\.5 s"):
            source.read(0)


def test_a_source_is_lost_when_its_broker_stops_and_opens_again_when_it_is_back(mosquitto):
    source = mqtt_source(mosquitto)
    with opened(source):
        mosquitto.stop()
        with pytest.raises(SourceLost, match=f"mqtt://127.0.0.1:{mosquitto.port}: "):
            source.read(TIMEOUT_S)
    mosquitto.start()
    with opened(mqtt_source(mosquitto)) as source:
        assert source.read(0) is None


def test_without_a_broker_the_source_is_unavailable(mosquitto):
    mosquitto.stop()
    with pytest.raises(SourceUnavailable, match=f"mqtt://127.0.0.1:{mosquitto.port}: .*refused"):
        mqtt_source(mosquitto).open()


def test_closing_ends_the_thread_and_closing_twice_is_harmless(mosquitto):
    source = mqtt_source(mosquitto)
    with opened(source):
        assert "mqtt:network" in [thread.name for thread in threading.enumerate()]
    assert "mqtt:network" not in [thread.name for thread in threading.enumerate()]
    source.close()
    with pytest.raises(SourceLost, match="is closed"):
        source.read(0)


# Passwords and TLS


def test_the_password_for_a_broker_comes_from_the_environment(guarded_mosquitto, monkeypatch):
    monkeypatch.setenv("POSELIFT_MQTT_PASSWORD", "tea-time")
    with opened(mqtt_source(guarded_mosquitto, username="robot")) as source:
        assert source.read(0) is None


def test_the_error_for_a_wrong_password_hides_the_password(guarded_mosquitto, monkeypatch):
    monkeypatch.setenv("SECRET", "coffee-time")
    with pytest.raises(SourceUnavailable, match="check username and SECRET") as error:
        mqtt_source(guarded_mosquitto, username="robot", password_env="SECRET").open()
    assert "coffee-time" not in str(error.value)


def test_a_username_without_a_password_in_the_environment_is_a_config_error(guarded_mosquitto, monkeypatch):
    monkeypatch.delenv("POSELIFT_MQTT_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="'robot' in the environment variable POSELIFT_MQTT_PASSWORD"):
        mqtt_source(guarded_mosquitto, username="robot")


def test_a_password_that_travels_unencrypted_over_the_network_is_logged_as_a_warning(monkeypatch, caplog):
    monkeypatch.setenv("POSELIFT_MQTT_PASSWORD", "tea-time")
    settings = MQTT.Settings(host="0.0.0.0", port=1, username="robot")  # without a broker
    with caplog.at_level(logging.WARNING, "poselift"), pytest.raises(SourceUnavailable):
        MQTT(settings, ComponentContext("network", clock=FakeClock())).open()
    assert "network: the password for mqtt://0.0.0.0:1 travels unencrypted; set tls" in caplog.text
    assert "tea-time" not in caplog.text


def test_tls_connects_only_to_a_broker_with_a_trusted_certificate(tls_mosquitto):
    with opened(mqtt_source(tls_mosquitto, tls=True, ca_file=str(tls_mosquitto.certificate))) as source:
        assert source.read(0) is None
    with pytest.raises(SourceUnavailable, match="certificate verify failed"):
        mqtt_source(tls_mosquitto, tls=True).open()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 0}, "port: expected 1 to 65535, got 0"),
        ({"topic": ""}, "topic: expected for example"),
        ({"timeout_s": 0}, "timeout_s: expected a number above 0, got 0"),
    ],
)
def test_an_invalid_setting_is_a_config_error_that_names_the_expected_value(settings, message):
    with pytest.raises(ConfigError, match=message):
        MQTT.Settings(**settings)


def test_an_invalid_topic_is_a_config_error(mosquitto):
    with pytest.raises(ConfigError, match=r"network\.topic 'a/#/b': "):
        mqtt_source(mosquitto, topic="a/#/b").open()


def test_a_missing_certificate_file_is_a_config_error(tmp_path):
    settings = MQTT.Settings(tls=True, ca_file=str(tmp_path / "gone.pem"))
    with pytest.raises(ConfigError, match=r"ca_file: .*gone\.pem cannot be read"):
        MQTT(settings, ComponentContext("network", clock=FakeClock()))
