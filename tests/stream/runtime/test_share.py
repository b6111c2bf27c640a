"""Shares of the sources, and how soon a failed worker is replaced."""

from typing import Any

from stream.runtime.share import STABLE_NS, Share, divide

SECOND = 1_000_000_000


class Worker:
    """Remembers its sources."""

    def assign(self, sources: tuple[str, ...]) -> None:
        self.sources = sources


def fail(share: Share, at_ns: int) -> float:
    """Start the share and let its worker fail 1 s later; the seconds until the next worker."""
    worker: Any = Worker()
    share.start(worker, at_ns)
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
    share.start(worker, 6 * SECOND)
    share.end(-9, 7 * SECOND + STABLE_NS)
    assert share.not_before_ns == 7 * SECOND + STABLE_NS


def test_a_share_whose_sources_have_ended_needs_no_worker():
    share = Share("worker-1", ("a",))
    worker: Any = Worker()
    share.start(worker, 0)
    assert not share.waits
    share.end(0, SECOND)
    assert (share.ended, share.waits) == (True, False)
