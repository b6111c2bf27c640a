"""The metrics over a real HTTP port, read by the parser of Prometheus's own library."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sinks.prometheus import Prometheus
from sinks.prometheus.sink import MAX_CONNECTIONS
from stream.clock import FakeClock
from stream.errors import ConfigError, SinkUnavailable
from stream.health import Health
from stream.protocols import ComponentContext, opened
from tests.examples import meta, pose, pose_frame, status
from tests.sinks.listeners import wait_until


class Node:
    """A sink that is open, and the health of its node."""

    def __init__(self) -> None:
        self.clock, self.health = FakeClock(), Health()
        context = ComponentContext("metrics", clock=self.clock, health=self.health)
        self.sink = Prometheus(Prometheus.Settings(port=0), context)

    def get(self, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.sink.endpoint.replace("/metrics", page), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Values of a metric by the values of its labels, in the order of their names."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if sample.name == name
        }

    def turn(self) -> None:
        """One turn of every thread."""
        for thread in ("source:cam0", "lift"):
            self.health.touch(thread, "loop", self.clock.now_ns())


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    with opened(node.sink):
        yield node


def test_counters_drops_and_states_are_metrics(node: Node):
    node.health.increment("cam0", "frames", 7)
    node.health.increment("cam0", "drop.newest_wins", 3)
    node.health.set_state("door.1", "retrying", "no route")
    assert node.values("poselift_events_total") == {("cam0", "frames"): 7}
    assert node.values("poselift_dropped_total") == {("cam0", "newest_wins"): 3}
    assert node.values("poselift_state") == {("door.1", "retrying"): 1}


def test_stages_are_in_seconds_and_the_hop_in_frames(node: Node):
    node.health.observe_ms("age", 40.0)
    node.health.observe_ms("hop", 3.0)
    assert node.values("poselift_stage_seconds")["0.5", "age"] == 0.04
    assert node.values("poselift_hop_frames")["0.99",] == 3


def test_rates_and_ages_are_per_source(node: Node):
    for _ in range(20):
        node.sink.send(pose_frame(persons=(pose("a"), pose("b", state="lost"))))
    node.sink.send(meta())
    node.sink.send(status())
    node.health.touch("cam0", "frame", node.clock.now_ns())
    node.clock.advance(2)
    assert node.values("poselift_pose_rate_hz") == {("cam0",): 2}
    assert node.values("poselift_last_pose_age_seconds") == {("cam0",): 2}
    assert node.values("poselift_last_frame_age_seconds") == {("cam0",): 2}
    assert node.values("poselift_persons") == {("cam0",): 1}
    node.clock.advance(9)
    assert node.values("poselift_pose_rate_hz") == {("cam0",): 0}


def test_a_node_is_healthy_while_its_threads_make_turns(node: Node):
    assert node.get("/healthz") == (200, "ok\n")
    node.turn()
    node.clock.advance(29)
    assert node.get("/healthz")[0] == 200
    node.health.touch("source:cam0", "loop", node.clock.now_ns())
    node.clock.advance(2)
    assert node.get("/healthz") == (503, "thread lift has made no turn for 31 s\n")


def test_a_node_is_ready_while_frames_arrive_and_sinks_are_open(node: Node):
    assert node.get("/readyz") == (503, "no frame and no pose for 5 s\n")
    node.turn()
    node.health.touch("cam0", "frame", node.clock.now_ns())
    node.health.set_state("cam0", "lost", "one of several cameras")
    node.health.set_state("zeromq", "ok")
    assert node.get("/readyz") == (200, "ok\n")
    node.health.set_state("mqtt", "retrying", "connection refused")
    assert node.get("/readyz") == (503, "mqtt is retrying: connection refused\n")
    node.health.set_state("mqtt", "ok")
    node.clock.advance(6)
    assert node.get("/readyz") == (503, "no frame and no pose for 5 s\n")
    node.sink.send(pose_frame())
    assert node.get("/readyz") == (200, "ok\n")


def test_other_pages_and_methods_are_refused(node: Node):
    assert node.get("/") == (404, "pages: /metrics /healthz /readyz\n")
    request = urllib.request.Request(node.sink.endpoint, data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(request, timeout=10)


def test_a_client_that_sends_nothing_blocks_no_other_client_and_no_closing(node: Node):
    port = int(node.sink.endpoint.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port)):
        assert node.get("/healthz")[0] == 200
        node.sink.close()


def test_idle_connections_keep_no_supervisor_out_and_take_few_threads(node: Node):
    port = int(node.sink.endpoint.split(":")[2].split("/")[0])
    before = threading.active_count()
    with ExitStack() as stack:
        for _ in range(300):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(b"GET /hea")
        assert node.get("/healthz")[0] == 200
        wait_until(lambda: threading.active_count() <= before + MAX_CONNECTIONS + 1)


def test_a_taken_port_is_tried_again_later(node: Node):
    port = int(node.sink.endpoint.split(":")[2].split("/")[0])
    second = Prometheus(Prometheus.Settings(port=port), ComponentContext("metrics"))
    with pytest.raises(SinkUnavailable, match=f"port {port} of 127.0.0.1 cannot be bound"):
        second.open()
    node.sink.close()
    with opened(second):
        pass


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"port": 65536}, "prometheus port: expected 0 to 65535"),
        ({"silent_s": 0}, "prometheus silent_s: expected seconds above 0"),
        ({"host": "0.0.0.0"}, r"every machine that can reach 0\.0\.0\.0 could connect"),
    ],
)
def test_wrong_settings_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        Prometheus.Settings(**settings)
