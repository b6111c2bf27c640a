"""What receivers get when a person, a camera, the daemon or the network fails: the table in docs/robots.md.

One node publishes through all sinks of the table at once. Tests assert the order of what receivers hear and
their silence, not times.
"""

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Mosquitto
from tests.rig_examples import joints, pose_frames
from tests.sinks.listeners import QUIET_S, ROS2Listener, captured, listening, wait_until
from tests.sinks.node import WALKER, Camera, Link, Node

TABLE = Path(__file__).parents[2] / "docs" / "robots.md"
COLUMNS = {"ROS 2": "ros2", "VMC": "vmc", "SONIC": "sonic", "ZeroMQ": "zeromq", "MQTT": "mqtt"}
COVERED: dict[str, set[str]] = {}  # sinks whose receivers a test of this file watches, by row of the table


def row(failure: str, *kinds: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks the test of a row of the table; kinds: its sinks, all of them by default."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        COVERED.setdefault(failure, set()).update(kinds or COLUMNS.values())
        return test

    return mark


LOST = {
    "ros2": ["deleted", "none tracked", "no body topics"],
    "vmc": ["untracked", "unloaded"],
    "sonic": [],
    "zeromq": ["lost"],
    "mqtt": ["lost", "no person"],
}


@row("person leaves")
@row("camera dies or its network")
def test_a_person_who_leaves_and_a_camera_that_dies_are_announced_while_the_node_runs(
    stack: ExitStack, mosquitto: Mosquitto, domain: int
):
    camera = Camera(stack)
    node = Node(stack, mosquitto, domain, camera.source, camera.play)
    camera.shows_person = False
    node.wait_until_heard(LOST)
    camera.shows_person = True
    node.wait_until_poses_arrive()
    camera.is_alive = False
    node.wait_until_heard(LOST)
    assert node.process.poll() is None


@row("daemon stopped (SIGTERM, Ctrl-C)")
def test_a_stopped_node_announces_its_end(stack: ExitStack, mosquitto: Mosquitto, domain: int):
    node = Node(stack, mosquitto, domain, WALKER)
    node.process.send_signal(signal.SIGTERM)
    end = {
        "ros2": ["deleted", "none tracked", "no body topics", "no topics"],
        "mqtt": ["no person", "stopped"],
    }
    node.wait_until_heard(LOST | {"zeromq": []} | end)
    assert node.process.wait(20) == 0


@row("daemon killed (SIGKILL), machine lost")
def test_a_killed_node_is_silent(stack: ExitStack, mosquitto: Mosquitto, domain: int):
    node = Node(stack, mosquitto, domain, WALKER)
    node.process.kill()
    node.wait_until_heard({"ros2": [], "vmc": [], "sonic": [], "zeromq": [], "mqtt": ["offline"]})
    ros2 = node.listeners["ros2"]
    assert isinstance(ros2, ROS2Listener)
    assert ros2.marker_lifetimes_s == {0.25}  # after which RViz removes them by itself


@row("network cut")
def test_a_cut_network_is_silent_and_newest_poses_follow_when_it_is_back(
    stack: ExitStack, tmp_path: Path, domain: int
):
    link = Link(stack)
    broker = Mosquitto(tmp_path, host=link.host)
    stack.callback(broker.stop)
    broker.start()
    node = Node(stack, broker, domain, WALKER, link=link, max_age_ms=2000.0)
    cut_ns, restored_ns = cut_for(7.5, link, node)
    for kind in ("ros2", "zeromq", "mqtt"):
        captured_ns = node.listeners[kind].captured_ns
        # A pose may have waited for max_age_ms in the node, and up to 3 s in the connection.
        assert [at_ns for at_ns in captured_ns if cut_ns < at_ns < restored_ns - 5.5e9] == [], kind
    link.cut()
    silent: dict[str, list[str]] = {"vmc": [], "sonic": [], "zeromq": []}
    node.wait_until_heard(silent | {"ros2": ["no body topics", "no topics"], "mqtt": ["offline"]})
    link.restore()
    node.wait_until_poses_arrive()


def cut_for(seconds: float, link: Link, node: Node) -> tuple[int, int]:
    """Cut the network for a while; returns the times of cut and return once poses arrive again."""
    link.cut()
    node.forget()
    cut_ns = time.time_ns()
    while time.time_ns() < cut_ns + seconds * 1e9:
        node.heard()
    restored_ns = time.time_ns()
    link.restore()
    node.wait_until_poses_arrive()
    return cut_ns, restored_ns


OLD_S = 20.0  # older than what any sink sends by default


@row("machine overloaded: poses older than `max_age_ms`")
@pytest.mark.parametrize("kind", COLUMNS.values())
def test_old_poses_are_not_sent_and_old_reports_of_lost_persons_are(
    kind: str, stack: ExitStack, mosquitto: Mosquitto, domain: int
):
    *frames, lost = pose_frames([joints()] * 10, "a3f9k", lost_after=True)
    with listening(kind, mosquitto, domain) as (sink, make_listener):
        listener = make_listener(stack)

        def hear_a_pose() -> bool:
            for frame in frames:
                sink.send(captured(frame, 0.0))
                time.sleep(0.02)
            return "pose" in listener.words()

        def heard_while_overloaded(expected: list[str]) -> bool:
            sink.send(captured(frames[0], OLD_S))
            heard = listener.words()
            return [word for n, word in enumerate(heard) if "pose" not in heard[n:]] == expected

        end = {"vmc": LOST["vmc"], "ros2": LOST["ros2"]}.get(kind, [])
        wait_until(hear_a_pose)
        wait_until(lambda: heard_while_overloaded(end))
        listener.forget()
        quiet_until = time.monotonic() + QUIET_S
        while time.monotonic() < quiet_until:
            heard_while_overloaded([])
        assert "pose" not in listener.words()
        listener.forget()
        wait_until(hear_a_pose)
        sink.send(captured(lost, OLD_S))
        wait_until(lambda: listener.words()[-len(LOST[kind]) :] == LOST[kind] or kind == "sonic")


def test_every_row_of_the_table_has_a_test_for_every_sink():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TABLE.read_text().split("## What a robot may rely on")[1].split("\n## ")[0].splitlines()
        if line.startswith("|") and not line.startswith("|--")
    ]
    assert rows[0] == ["failure", *COLUMNS]
    assert {failure: set(COLUMNS.values()) for failure, *_ in rows[1:]} == COVERED
