import dataclasses
import threading

import numpy as np

from stream.health import Health
from stream.intake import Intake
from stream.messages import Header, KeypointFrame, Keypoints

SECOND = 1_000_000_000


def seen(seq: int, *ids: str, at_s: float | None = None) -> KeypointFrame:
    """Frame `seq` at 10 Hz with these persons, every joint at x = y = seq."""
    at_ns = round((seq / 10 if at_s is None else at_s) * SECOND)
    persons = tuple(Keypoints(np.full((17, 2), seq, np.float32), np.ones(17, np.float32), id) for id in ids)
    return KeypointFrame(Header("cam0", seq, at_ns, at_ns), (640, 480), "h36m17", persons, at_ns)


def intake(lossless: bool = False, frames: int = 9, predict_s: float = 0.25) -> Intake:
    return Intake("cam0", frames, lossless, predict_s, Health())


def states(due) -> list[dict[str, str]]:
    return [{who.id: who.state for who in arrival.sightings} for arrival in due.arrivals]


def test_nothing_is_due_before_a_hop_of_frames_has_come():
    box = intake()
    box.accept(seen(0, "a"))
    assert box.take(hop=2, lag=0) is None
    box.accept(seen(1, "a"))
    due = box.take(hop=2, lag=0)
    assert [arrival.header.seq for arrival in due.arrivals] == [0, 1]
    assert states(due) == [{"a": "new"}, {"a": "ok"}]


def test_lag_holds_the_newest_frames_back_and_lets_windows_look_at_them():
    box = intake()
    for seq in range(5):
        box.accept(seen(seq, "a"))
    due = box.take(hop=1, lag=2)
    assert [arrival.header.seq for arrival in due.arrivals] == [0, 1, 2]
    (window,) = due.windows(9).values()
    assert window.keypoints[-1, 0, 0] == 4


def test_a_slow_lifter_gets_everything_at_once_from_a_live_source():
    box = intake()
    for seq in range(7):
        box.accept(seen(seq, "a"))
    assert len(box.take(hop=2, lag=0).arrivals) == 7


def test_a_file_gives_exactly_a_hop_so_that_replays_are_alike():
    box = intake(lossless=True)
    for seq in range(7):
        box.accept(seen(seq, "a"))
    first = box.take(hop=3, lag=1)
    assert [arrival.header.seq for arrival in first.arrivals] == [0, 1, 2]
    (window,) = first.windows(9).values()
    assert window.keypoints[-1, 0, 0] == 3  # one frame of look-ahead, no more
    box.end()
    rest = [len(box.take(hop=3, lag=1).arrivals), len(box.take(hop=3, lag=1).arrivals)]
    assert (rest, box.take(hop=3, lag=1), box.finished) == ([3, 1], None, True)


def test_a_person_not_seen_is_predicted_then_lost_once_then_gone():
    box = intake(predict_s=0.25)
    for seq, ids in enumerate([("a",), (), (), (), ()]):
        box.accept(seen(seq, *ids))
    due = box.take(hop=1, lag=0)
    assert states(due) == [{"a": "new"}, {"a": "predicted"}, {"a": "predicted"}, {"a": "lost"}, {}]


def test_a_silent_source_still_says_that_its_people_are_lost():
    box = intake(predict_s=0.25)
    box.accept(seen(0, "a"))
    assert not box.expire(round(0.2 * SECOND))
    assert box.expire(round(0.3 * SECOND))
    assert not box.expire(round(0.4 * SECOND))
    due = box.take(hop=1, lag=0)
    assert states(due) == [{"a": "new"}, {"a": "lost"}]
    last = due.arrivals[-1].header
    assert (last.seq, last.captured_ns, last.captured_unix_ns) == (0, 300_000_000, 300_000_000)


def test_a_sender_whose_clock_is_behind_is_not_taken_for_silent():
    box = intake(predict_s=0.25)
    late = dataclasses.replace(seen(0, "a", at_s=1.0), detected_ns=9 * SECOND)
    box.accept(late)
    assert not box.expire(round(9.2 * SECOND))
    assert box.expire(round(9.3 * SECOND))
    due = box.take(hop=1, lag=0)
    assert states(due) == [{"a": "new"}, {"a": "lost"}]
    assert due.arrivals[-1].header.captured_ns == round(1.3 * SECOND)


def test_what_waits_for_newer_frames_is_due_when_the_source_falls_silent():
    box = intake(predict_s=0.25)
    for seq in range(3):
        box.accept(seen(seq, "a"))
    assert box.take(hop=4, lag=2) is None
    assert box.expire(round(0.5 * SECOND))
    assert states(box.take(hop=4, lag=2)) == [{"a": "new"}, {"a": "ok"}, {"a": "ok"}, {"a": "lost"}]
    box.accept(seen(6, "a"))
    assert box.take(hop=4, lag=2) is None


def test_pixels_of_another_image_size_are_not_mixed_into_a_window():
    box = intake()
    box.accept(seen(0, "a", "b"))
    box.accept(seen(1, "a", "b"))
    box.accept(dataclasses.replace(seen(2, "a"), size_wh=(1280, 960)))
    due = box.take(hop=1, lag=0)
    assert states(due) == [{"a": "new", "b": "new"}, {"a": "ok", "b": "ok"}, {"a": "ok", "b": "lost"}]
    before, after = (arrival.sightings[0].ring for arrival in due.arrivals[1:])
    windows = due.windows(9)
    assert (windows[before].size_wh, windows[after].size_wh) == ((640, 480), (1280, 960))
    assert windows[before].keypoints[-1, 0, 0] == 1
    assert windows[after].keypoints[:, 0, 0].tolist() == [2] * 9


def test_a_live_intake_drops_its_oldest_arrival_and_counts_it():
    health = Health()
    box = Intake("cam0", 4, False, 1.0, health)
    for seq in range(6):
        box.accept(seen(seq, "a"))
    due = box.take(hop=1, lag=0)
    assert [arrival.header.seq for arrival in due.arrivals] == [2, 3, 4, 5]
    assert health.dropped("cam0") == 2


def test_a_lossless_intake_makes_its_source_wait():
    box = intake(lossless=True, frames=4)
    writer = threading.Thread(target=lambda: [box.accept(seen(seq, "a")) for seq in range(40)])
    writer.start()
    got = []
    while len(got) < 40:
        due = box.take(hop=2, lag=0)
        got += [arrival.header.seq for arrival in due.arrivals] if due else []
    writer.join(5.0)
    assert got == list(range(40))


def test_closing_lets_a_waiting_source_go():
    box = intake(lossless=True, frames=1)
    box.accept(seen(0, "a"))
    writer = threading.Thread(target=lambda: box.accept(seen(1, "a")))
    writer.start()
    box.close()
    writer.join(5.0)
    assert not writer.is_alive()
