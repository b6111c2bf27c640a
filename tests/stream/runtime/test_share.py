"""Shares of the sources, and how soon a failed worker is replaced."""

from typing import Any

from stream.config.load import Config, resolve
from stream.runtime.share import STABLE_NS, Share, divide, redistribute

SECOND = 1_000_000_000
CONFIG = resolve(
    {
        "sources": {name: {"type": "synthetic"} for name in "abcde"},
        "sinks": {"memory": {"type": "memory"}},
    }
)


class Worker:
    """Remembers its sources."""

    def assign(self, config: Config) -> None:
        self.sources = tuple(config.sources)

    change = assign


def fail(share: Share, at_ns: int) -> float:
    """Start the share and let its worker fail 1 s later; the seconds until the next worker."""
    worker: Any = Worker()
    share.start(worker, CONFIG, at_ns)
    assert worker.sources == share.sources
    share.end(-9, at_ns + SECOND)
    return (share.not_before_ns - at_ns - SECOND) / 1e9


def test_sources_are_divided_evenly():
    shares = divide(["a", "b", "c", "d", "e"], 2)
    assert [(share.name, share.sources) for share in shares] == [
        ("worker-1", ("a", "c", "e")),
        ("worker-2", ("b", "d")),
    ]


def test_the_first_replacement_comes_at_once_and_the_next_ones_after_growing_delays():
    share = Share("worker-1", ("a",))
    assert fail(share, 0) == 0
    assert 0.4 <= fail(share, 2 * SECOND) <= 0.5
    assert 0.8 <= fail(share, 4 * SECOND) <= 1.0
    worker: Any = Worker()
    share.start(worker, CONFIG, 6 * SECOND)
    share.end(-9, 7 * SECOND + STABLE_NS)
    assert share.not_before_ns == 7 * SECOND + STABLE_NS


def test_a_share_whose_sources_have_ended_needs_no_worker():
    share = Share("worker-1", ("a",))
    worker: Any = Worker()
    share.start(worker, CONFIG, 0)
    share.confirm()
    assert not share.waits
    share.end(0, SECOND)
    assert (share.ended, share.waits) == (True, False)


def test_a_worker_that_ends_with_an_unconfirmed_order_is_replaced():
    share = Share("worker-1", ("a",))
    worker: Any = Worker()
    share.start(worker, CONFIG, 0)
    share.confirm()
    share.change(("a", "b"), CONFIG)
    assert worker.sources == ("a", "b")
    share.end(0, SECOND)
    assert share.waits


def test_a_share_without_a_worker_ends_with_its_last_source_and_comes_back_with_a_new_one():
    share = Share("worker-1", ("a",))
    share.change((), CONFIG)
    assert (share.ended, share.waits) == (True, False)
    share.change(("b",), CONFIG)
    assert (share.ended, share.waits) == (False, True)


def test_new_sources_go_to_the_share_with_the_least_load():
    busy, idle, least = Share("busy", ("a",)), Share("idle", ("b", "c")), Share("least", ("d", "e"))
    loads = {busy: 30.0, idle: 20.0, least: 10.0}
    parts = redistribute([busy, idle, least], ["f", "g"], ["c"], loads.__getitem__)
    assert parts == {busy: ("a",), idle: ("b", "g"), least: ("d", "e", "f")}


def test_shares_of_equal_loads_get_new_sources_by_the_number_of_sources():
    one, two = Share("one", ("a", "b")), Share("two", ("c",))
    assert redistribute([one, two], ["d", "e"], ["a"], lambda share: 0) == {one: ("b", "d"), two: ("c", "e")}


def test_new_sources_go_to_a_share_of_their_place_or_to_a_new_one():
    near = {"d": "hall", "e": "gate", "f": "gate"}
    anywhere, hall = Share("worker-1", ("a",)), Share("worker-2", ("b", "c"), near="hall")
    parts = redistribute([anywhere, hall], ["d", "e", "f"], ["a"], lambda share: 0, near.__getitem__)
    named = {(share.name, share.near): sources for share, sources in parts.items()}
    assert named == {
        ("worker-1", ""): (),
        ("worker-2", "hall"): ("b", "c", "d"),
        ("worker-3", "gate"): ("e", "f"),
    }


def test_a_drained_share_gets_new_sources_only_when_there_is_no_other():
    busy, drained = Share("busy", ("a", "b")), Share("drained", (), ended=True)
    load = {busy: 30.0, drained: 0.0}.__getitem__
    assert redistribute([busy, drained], ["c"], [], load, idle_last=True) == {
        busy: ("a", "b", "c"),
        drained: (),
    }
    assert redistribute([busy, drained], ["c"], [], load) == {busy: ("a", "b"), drained: ("c",)}
