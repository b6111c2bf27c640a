"""Workers that are started and drained by load: decisions with a clock of the test, then real processes."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.config.load import resolve
from stream.config.workers import WorkerRange
from stream.errors import ConfigError
from stream.runtime.scaling import Scaler
from stream.runtime.share import Share
from tests.stream.running_node import CAMERAS, Node, assert_none_twice, ids, lost_ids

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def now_ns(self) -> int:
        return round(self.s * SECOND)


def decide(shares: list[Share], loads: list[float], seconds: int, **limits: Any) -> list[tuple[int, dict]]:
    """The decisions, with their second, of a scaler that sees these loads all the time."""
    clock: Any = Clock()
    by_name = {share.name: load for share, load in zip(shares, loads, strict=True)}
    settings = WorkerRange(**{"min": 1, "max": 4, "poses_per_s": 100, "after_s": 10, **limits})
    scaler = Scaler(settings, lambda share: by_name.get(share.name, 0.0), clock)
    decisions = []
    for second in range(seconds):
        clock.s = float(second)
        if parts := scaler.step(shares):
            decisions.append((second, {share.name: sources for share, sources in parts.items()}))
    return decisions


def test_an_overloaded_worker_gives_half_of_its_load_to_another_one_after_a_while():
    shares = [Share("worker-1", ("a", "b", "c", "d"))]
    assert decide(shares, [120.0], 10) == []
    assert decide(shares, [120.0], 11) == [(10, {"worker-1": ("a", "b"), "worker-2": ("c", "d")})]


def test_sources_move_to_a_worker_that_has_room_before_another_one_is_started():
    shares = [Share("worker-1", ("a", "b", "c")), Share("worker-2", ("d",))]
    assert decide(shares, [120.0, 30.0], 11) == [(10, {"worker-1": ("a", "b"), "worker-2": ("d", "c")})]
    assert decide(shares, [120.0, 90.0], 11) == [(10, {"worker-1": ("a", "b"), "worker-3": ("c",)})]


def test_a_drained_worker_is_used_again():
    shares = [Share("worker-1", ("a", "b")), Share("worker-2", (), ended=True)]
    assert decide(shares, [120.0, 0.0], 11) == [(10, {"worker-1": ("a",), "worker-2": ("b",)})]


def test_no_worker_is_started_above_the_maximum_or_for_one_source():
    assert decide([Share("worker-1", ("a", "b"))], [120.0], 60, max=1) == []
    assert decide([Share("worker-1", ("a",))], [500.0], 60) == []


def test_the_least_busy_worker_is_drained_when_the_others_have_room_twice_over():
    shares = [Share("worker-1", ("a", "b")), Share("worker-2", ("c",)), Share("worker-3", ("d", "e"))]
    drained = {"worker-1": ("a", "b"), "worker-2": ("c", "d", "e"), "worker-3": ()}
    assert decide(shares, [50.0, 30.0, 20.0], 11) == [(10, drained)]
    assert decide(shares, [50.0, 31.0, 20.0], 60) == [], "between the limits nothing moves"
    assert decide(shares, [0.0, 0.0, 0.0], 60, min=3) == []


def test_sources_stay_at_their_place():
    shares = [Share("worker-1", ("a", "b"), near="hall"), Share("worker-2", ("c",), near="gate")]
    assert decide(shares, [0.0, 0.0], 60) == []
    assert decide(shares, [120.0, 0.0], 11) == [(10, {"worker-1": ("a",), "worker-3": ("b",)})]


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        ({"max": 5}, "workers.max: expected up to 4, the number of sources, got 5"),
        ({"min": 3, "max": 2}, "workers: expected min from 1 and max from min, got 3 and 2"),
        ({"max": 2, "poses_per_s": 0}, "workers: expected poses_per_s and after_s above 0"),
        ({"max": 2, "minimum": 1}, "workers: 'minimum' is not one of max, min, poses_per_s, after_s"),
    ],
)
def test_wrong_limits_are_refused_with_the_remedy(workers: dict[str, Any], expected: str):
    tree = {"sources": {name: {"type": "synthetic"} for name in CAMERAS}, "sinks": {"m": {"type": "memory"}}}
    with pytest.raises(ConfigError, match=re.escape(expected)):
        resolve({**tree, "workers": workers})


@pytest.fixture
def node(tiny_weights: Path, tmp_path: Path) -> Iterator[Node]:
    # Four cameras at 12 Hz are 48 poses per second.
    node = Node(tiny_weights, tmp_path, workers="{min: 1, max: 2, poses_per_s: 24, after_s: 1}")
    yield node
    node.close()


def workers_of(node: Node) -> set[int | None]:
    return {node.worker_of(name) for name in CAMERAS}


def test_workers_follow_the_load_and_no_pose_is_lost_unsaid_or_published_twice(node: Node):
    node.wait_for(lambda: all(node.session(name) for name in CAMERAS))
    node.wait_for(lambda: len(workers_of(node) - {None}) == 2 and None not in workers_of(node))
    assert node.report["counters"]["workers.added"] == 1
    assert re.fullmatch(
        r"2 of 1 to 2, \d+ poses per second, at most 24 each", node.report["states"]["workers"]["detail"]
    )
    node.sent_cameras = CAMERAS[:1]
    node.wait_for(lambda: node.report["counters"].get("workers.drained"))
    node.wait_for(lambda: len(workers_of(node)) == 1 and None not in workers_of(node))
    node.sent_cameras = CAMERAS
    sessions = {name: node.session(name) for name in CAMERAS}
    node.wait_for(lambda: node.report["counters"]["workers.added"] == 2)
    node.wait_for(lambda: sum(node.session(name) != sessions[name] for name in CAMERAS) >= 2)
    node.process.send_signal(signal.SIGINT)
    output = node.wait_for_end()
    assert node.process.returncode == 0, output
    assert "another worker takes its place" not in output
    for name in CAMERAS:
        frames = node.frames(name)
        assert_none_twice(frames)
        gone = ids(frames) - ids(frames[-1:])
        assert sorted(set(lost_ids(frames)) | gone) == sorted(lost_ids(frames)), "every person is lost once"
