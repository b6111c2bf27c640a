import dataclasses
import threading
import time

import numpy as np
import pytest

from stream.health import Health
from stream.messages import Header, KeypointFrame, Keypoints
from stream.windows.camera_buffer import CameraBuffer
from stream.windows.resample import Timing

SECOND = 1_000_000_000


def seen(seq: int, *ids: str, at_s: float | None = None) -> KeypointFrame:
    """Frame `seq` at 10 Hz with these persons, every joint at x = y = seq."""
    at_ns = round((seq / 10 if at_s is None else at_s) * SECOND)
    persons = tuple(Keypoints(np.full((17, 2), seq, np.float32), np.ones(17, np.float32), id) for id in ids)
    return KeypointFrame(Header("cam0", seq, at_ns, at_ns), (640, 480), "h36m17", persons, at_ns)


def intake(lossless: bool = False, frames: int = 9, predict_s: float = 0.25) -> CameraBuffer:
    return CameraBuffer("cam0", frames, lossless, predict_s, Health())


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
    box = CameraBuffer("cam0", 4, False, 1.0, health)
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


def resampled(lossless: bool = False, frames: int = 9, health: Health | None = None) -> CameraBuffer:
    """With windows at 50 Hz."""
    return CameraBuffer("cam0", frames, lossless, 0.25, health or Health(), Timing(step_ns=20_000_000))


def accept(box: CameraBuffer, fps: float, frames: int, first: int = 0) -> None:
    for seq in range(first, first + frames):
        box.accept(seen(seq, "a", at_s=seq / fps))


@pytest.mark.parametrize("fps", [10, 25, 50, 60, 240])
def test_the_newest_frame_of_any_camera_is_published_at_once_from_a_window_that_ends_with_it(fps: float):
    box = resampled()
    for seq in range(30):
        box.accept(seen(seq, "a", at_s=seq / fps))
        due = box.take(hop=1, lag=0)
        assert [arrival.header.seq for arrival in due.arrivals] == [seq]
        (window,) = due.windows(9).values()
        assert window.captured_ns[-1] == round(seq / fps * SECOND)
        assert window.keypoints[-1, 0, 0] == seq


@pytest.mark.parametrize(("fps", "due_ms"), [(25, 40), (50, 60), (100, 80)])
def test_with_a_time_grid_lag_is_a_time(fps: float, due_ms: int):
    box = resampled()
    accept(box, fps, round(0.16 * fps))
    due = box.take(hop=1, lag=4)  # 80 ms, to the nearest 20
    assert due.arrivals[-1].header.captured_ns == due_ms * 1_000_000
    (window,) = due.windows(9).values()
    assert abs(window.captured_ns[-1] - due_ms * 1_000_000 - 80_000_000) <= 10_000_000


@pytest.mark.parametrize("fps", [10, 25, 60, 140])
@pytest.mark.parametrize("lag", [0, 2, 4, 8])
def test_a_window_reaches_over_all_that_is_published_from_it_and_nothing_is_lost(fps: float, lag: int):
    box, got = resampled(), []
    for first in range(0, 44, 4):
        if first < 40:
            accept(box, fps, 4, first)
        else:
            box.end()
        while due := box.take(hop=2, lag=lag):
            got += due.arrivals
            (window,) = due.windows(9).values()
            assert window.captured_ns[0] <= due.arrivals[0].header.captured_ns
            assert window.captured_ns[-1] >= due.arrivals[-1].header.captured_ns
    assert [arrival.header.seq for arrival in got] == list(range(40))


@pytest.mark.parametrize("fps", [3, 15, 50, 140, 1000])
@pytest.mark.parametrize(("hop", "lag"), [(1, 0), (2, 4), (1, 8), (5, 4), (9, 0)])
def test_a_file_of_any_rate_is_lifted_in_the_same_passes_however_its_threads_run(
    fps: float, hop: int, lag: int
):
    passes = []
    for eager in (True, False):
        box, made = resampled(lossless=True), []

        def write(box: CameraBuffer = box) -> None:
            accept(box, fps, 40)
            box.end()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        if not eager:
            writer.join(0.05)  # until it is full, or through
        until_s = time.monotonic() + 20
        while not box.finished and time.monotonic() < until_s:
            if due := box.take(hop, lag):
                made.append(([arrival.header.seq for arrival in due.arrivals], list(due.ends.values())))
        writer.join(5.0)
        passes.append(made)
    assert passes[0] == passes[1]
    assert [seq for seqs, _ in passes[0] for seq in seqs] == list(range(40))


def test_who_was_new_or_lost_in_a_dropped_frame_is_announced_with_the_next():
    health = Health()
    box = CameraBuffer("cam0", 4, False, 0.15, health)
    for seq, ids in enumerate([("a", "b"), ("a",), ("a",), ("a",), ("a", "c"), ("a", "c"), ("a", "c")]):
        box.accept(seen(seq, *ids))
    assert health.dropped("cam0") == 3
    assert states(box.take(hop=1, lag=0)) == [
        {"a": "new"},
        {"a": "ok", "c": "new"},
        {"a": "ok", "c": "ok"},
        {"a": "ok", "c": "ok"},
    ]
    box = CameraBuffer("cam0", 4, False, 0.15, health)
    box.accept(seen(0, "a", "b"))
    box.take(hop=1, lag=0)
    for seq in range(1, 7):
        box.accept(seen(seq, "a"))
    assert states(box.take(hop=1, lag=0))[0] == {"a": "ok", "b": "lost"}


def test_who_is_to_be_lost_at_once_is_not_lost_between_two_frames():
    box = intake(predict_s=0.0)
    for seq, ids in enumerate([("a",), ("a",), (), ()]):
        box.accept(seen(seq, *ids))
    assert states(box.take(hop=1, lag=0)) == [{"a": "new"}, {"a": "ok"}, {"a": "lost"}, {}]
