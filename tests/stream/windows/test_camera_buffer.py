import dataclasses
import threading
import time

import numpy as np
import pytest

from stream.health import Health
from stream.messages import Header, KeypointFrame, Keypoints
from stream.windows.pending import LiftRequest
from stream.windows.resample import Timing
from tests.buffered_camera import BufferedCamera

SECOND = 1_000_000_000


def frame(seq: int, *ids: str, at_s: float | None = None) -> KeypointFrame:
    """Frame `seq` of a 10 Hz camera, or at `at_s`, with these people; every joint is at x = y = seq."""
    at_ns = round((seq / 10 if at_s is None else at_s) * SECOND)
    persons = tuple(Keypoints(np.full((17, 2), seq, np.float32), np.ones(17, np.float32), id) for id in ids)
    return KeypointFrame(Header("cam0", seq, at_ns, at_ns), (640, 480), "h36m17", persons, at_ns)


def seqs(request: LiftRequest) -> list[int]:
    return [pending.header.seq for pending in request.frames]


def states(request: LiftRequest) -> list[dict[str, str]]:
    """State by id, for every frame."""
    return [{person.id: person.state for person in pending.persons} for pending in request.frames]


def test_no_frame_is_due_before_a_whole_hop_has_arrived():
    camera = BufferedCamera()
    camera.push(frame(0, "a"))
    assert camera.pop_due(hop=2, lag=0) is None
    camera.push(frame(1, "a"))
    request = camera.pop_due(hop=2, lag=0)
    assert seqs(request) == [0, 1]
    assert states(request) == [{"a": "new"}, {"a": "ok"}]


def test_lag_holds_the_newest_frames_back_and_windows_see_them():
    camera = BufferedCamera()
    for seq in range(5):
        camera.push(frame(seq, "a"))
    request = camera.pop_due(hop=1, lag=2)
    assert seqs(request) == [0, 1, 2]
    (window,) = request.windows(9).values()
    assert window.keypoints[-1, 0, 0] == 4


def test_a_slow_lifter_gets_all_frames_of_a_live_camera_at_once():
    camera = BufferedCamera()
    for seq in range(7):
        camera.push(frame(seq, "a"))
    assert len(camera.pop_due(hop=2, lag=0).frames) == 7


def test_a_file_gives_exactly_one_hop_so_that_replays_are_alike():
    camera = BufferedCamera(lossless=True)
    for seq in range(7):
        camera.push(frame(seq, "a"))
    first = camera.pop_due(hop=3, lag=1)
    assert seqs(first) == [0, 1, 2]
    (window,) = first.windows(9).values()
    assert window.keypoints[-1, 0, 0] == 3  # one frame of look-ahead, no more
    camera.buffer.end()
    assert [seqs(camera.pop_due(hop=3, lag=1)) for _ in range(2)] == [[3, 4, 5], [6]]
    assert (camera.pop_due(hop=3, lag=1), camera.buffer.finished) == (None, True)


def test_a_missing_person_is_predicted_then_lost_once_then_absent():
    camera = BufferedCamera(predict_s=0.25)
    for seq, ids in enumerate([("a",), (), (), (), ()]):
        camera.push(frame(seq, *ids))
    request = camera.pop_due(hop=1, lag=0)
    assert states(request) == [{"a": "new"}, {"a": "predicted"}, {"a": "predicted"}, {"a": "lost"}, {}]


def test_people_of_a_silent_camera_are_announced_as_lost():
    camera = BufferedCamera(predict_s=0.25)
    camera.push(frame(0, "a"))
    assert not camera.expire(round(0.2 * SECOND))
    assert camera.expire(round(0.3 * SECOND))
    assert not camera.expire(round(0.4 * SECOND))
    request = camera.pop_due(hop=1, lag=0)
    assert states(request) == [{"a": "new"}, {"a": "lost"}]
    last = request.frames[-1].header
    assert (last.seq, last.captured_ns, last.captured_unix_ns) == (0, 300_000_000, 300_000_000)


def test_silence_counts_from_the_arrival_of_a_frame_not_from_its_capture():
    camera = BufferedCamera(predict_s=0.25)
    late = dataclasses.replace(frame(0, "a", at_s=1.0), detected_ns=9 * SECOND)
    camera.push(late)
    assert not camera.expire(round(9.2 * SECOND))
    assert camera.expire(round(9.3 * SECOND))
    request = camera.pop_due(hop=1, lag=0)
    assert states(request) == [{"a": "new"}, {"a": "lost"}]
    assert request.frames[-1].header.captured_ns == round(1.3 * SECOND)


def test_frames_waiting_for_look_ahead_are_due_when_the_camera_falls_silent():
    camera = BufferedCamera(predict_s=0.25)
    for seq in range(3):
        camera.push(frame(seq, "a"))
    assert camera.pop_due(hop=4, lag=2) is None
    assert camera.expire(round(0.5 * SECOND))
    assert states(camera.pop_due(hop=4, lag=2)) == [{"a": "new"}, {"a": "ok"}, {"a": "ok"}, {"a": "lost"}]
    camera.push(frame(6, "a"))
    assert camera.pop_due(hop=4, lag=2) is None


def test_a_window_never_mixes_pixels_of_two_image_sizes():
    camera = BufferedCamera()
    camera.push(frame(0, "a", "b"))
    camera.push(frame(1, "a", "b"))
    camera.push(dataclasses.replace(frame(2, "a"), size_wh=(1280, 960)))
    request = camera.pop_due(hop=1, lag=0)
    assert states(request) == [{"a": "new", "b": "new"}, {"a": "ok", "b": "ok"}, {"a": "ok", "b": "lost"}]
    before, after = (pending.persons[0].ring for pending in request.frames[1:])
    windows = request.windows(9)
    assert (windows[before].size_wh, windows[after].size_wh) == ((640, 480), (1280, 960))
    assert windows[before].keypoints[-1, 0, 0] == 1
    assert windows[after].keypoints[:, 0, 0].tolist() == [2] * 9


def test_a_full_live_buffer_drops_its_oldest_frame_and_counts_it():
    health = Health()
    camera = BufferedCamera(frames=4, predict_s=1.0, health=health)
    for seq in range(6):
        camera.push(frame(seq, "a"))
    request = camera.pop_due(hop=1, lag=0)
    assert seqs(request) == [2, 3, 4, 5]
    assert health.dropped("cam0") == 2


def test_a_full_lossless_buffer_makes_its_source_wait():
    camera = BufferedCamera(lossless=True, frames=4)
    writer = threading.Thread(target=lambda: [camera.push(frame(seq, "a")) for seq in range(40)])
    writer.start()
    published: list[int] = []
    while len(published) < 40:
        request = camera.pop_due(hop=2, lag=0)
        published += seqs(request) if request else []
    writer.join(5.0)
    assert published == list(range(40))


def test_closing_lets_a_waiting_source_go_on():
    camera = BufferedCamera(lossless=True, frames=1)
    camera.push(frame(0, "a"))
    writer = threading.Thread(target=lambda: camera.push(frame(1, "a")))
    writer.start()
    camera.buffer.close()
    writer.join(5.0)
    assert not writer.is_alive()


def resampled(lossless: bool = False) -> BufferedCamera:
    """A camera whose windows are at 50 Hz."""
    return BufferedCamera(lossless=lossless, timing=Timing(window_step_ns=20_000_000))


def push_frames(camera: BufferedCamera, fps: float, count: int, first: int = 0) -> None:
    for seq in range(first, first + count):
        camera.push(frame(seq, "a", at_s=seq / fps))


@pytest.mark.parametrize("fps", [10, 25, 50, 60, 240])
def test_the_newest_frame_of_any_camera_is_published_at_once_from_a_window_that_ends_with_it(fps: float):
    camera = resampled()
    for seq in range(30):
        camera.push(frame(seq, "a", at_s=seq / fps))
        request = camera.pop_due(hop=1, lag=0)
        assert seqs(request) == [seq]
        (window,) = request.windows(9).values()
        assert window.captured_ns[-1] == round(seq / fps * SECOND)
        assert window.keypoints[-1, 0, 0] == seq


@pytest.mark.parametrize(("fps", "due_ms"), [(25, 40), (50, 60), (100, 80)])
def test_with_a_time_grid_lag_is_a_time(fps: float, due_ms: int):
    camera = resampled()
    push_frames(camera, fps, round(0.16 * fps))
    request = camera.pop_due(hop=1, lag=4)  # 80 ms, to the nearest 20 ms
    assert request.frames[-1].header.captured_ns == due_ms * 1_000_000
    (window,) = request.windows(9).values()
    assert abs(window.captured_ns[-1] - due_ms * 1_000_000 - 80_000_000) <= 10_000_000


@pytest.mark.parametrize("fps", [10, 25, 60, 140])
@pytest.mark.parametrize("lag", [0, 2, 4, 8])
def test_a_window_spans_all_frames_published_from_it_and_no_frame_is_lost(fps: float, lag: int):
    camera, published = resampled(), []
    for first in range(0, 44, 4):
        if first < 40:
            push_frames(camera, fps, 4, first)
        else:
            camera.buffer.end()
        while request := camera.pop_due(hop=2, lag=lag):
            published += seqs(request)
            (window,) = request.windows(9).values()
            assert window.captured_ns[0] <= request.frames[0].header.captured_ns
            assert window.captured_ns[-1] >= request.frames[-1].header.captured_ns
    assert published == list(range(40))


@pytest.mark.parametrize("fps", [3, 15, 50, 140, 1000])
@pytest.mark.parametrize(("hop", "lag"), [(1, 0), (2, 4), (1, 8), (5, 4), (9, 0)])
def test_a_file_of_any_rate_is_lifted_in_the_same_passes_however_its_threads_run(
    fps: float, hop: int, lag: int
):
    passes = []
    for concurrent in (True, False):
        camera, made = resampled(lossless=True), []

        def write(camera: BufferedCamera = camera) -> None:
            push_frames(camera, fps, 40)
            camera.buffer.end()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        if not concurrent:
            writer.join(0.05)  # until the buffer is full, or the file has ended
        until_s = time.monotonic() + 20
        while not camera.buffer.finished and time.monotonic() < until_s:
            if request := camera.pop_due(hop, lag):
                made.append((seqs(request), list(request.window_ends.values())))
        writer.join(5.0)
        passes.append(made)
    assert passes[0] == passes[1]
    assert [seq for published, _ in passes[0] for seq in published] == list(range(40))


def test_new_and_lost_events_of_a_dropped_frame_are_carried_over_to_the_next():
    health = Health()
    camera = BufferedCamera(frames=4, predict_s=0.15, health=health)
    for seq, ids in enumerate([("a", "b"), ("a",), ("a",), ("a",), ("a", "c"), ("a", "c"), ("a", "c")]):
        camera.push(frame(seq, *ids))
    assert health.dropped("cam0") == 3
    assert states(camera.pop_due(hop=1, lag=0)) == [
        {"a": "new"},
        {"a": "ok", "c": "new"},
        {"a": "ok", "c": "ok"},
        {"a": "ok", "c": "ok"},
    ]
    camera = BufferedCamera(frames=4, predict_s=0.15, health=health)
    camera.push(frame(0, "a", "b"))
    camera.pop_due(hop=1, lag=0)
    for seq in range(1, 7):
        camera.push(frame(seq, "a"))
    assert states(camera.pop_due(hop=1, lag=0))[0] == {"a": "ok", "b": "lost"}


def test_without_prediction_a_person_is_not_lost_between_two_frames():
    camera = BufferedCamera(predict_s=0.0)
    for seq, ids in enumerate([("a",), ("a",), (), ()]):
        camera.push(frame(seq, *ids))
    assert states(camera.pop_due(hop=1, lag=0)) == [{"a": "new"}, {"a": "ok"}, {"a": "lost"}, {}]


def test_in_a_file_a_silence_takes_no_time():
    camera = BufferedCamera(lossless=True)
    camera.push(frame(0, "a"))
    camera.expire(50 * SECOND)
    camera.buffer.end()
    request = camera.pop_due()
    assert states(request) == [{"a": "new"}, {"a": "lost"}]
    assert [pending.header.captured_ns for pending in request.frames] == [0, 0]


def test_the_lost_people_of_frames_dropped_for_their_age_are_announced_at_once():
    camera = BufferedCamera(predict_s=0.25)
    camera.push(frame(0, "a"))
    assert states(camera.pop_due()) == [{"a": "new"}]
    for seq in range(1, 6):
        camera.push(frame(seq))
    request = camera.buffer.pop_due(1, 0, oldest_ns=SECOND)
    assert (seqs(request), states(request)) == ([5], [{"a": "lost"}])
    assert camera.buffer.too_old == 4


def test_new_people_of_frames_dropped_for_their_age_are_new_in_the_next_frame():
    camera = BufferedCamera(predict_s=0.25)
    for seq in range(5):
        camera.push(frame(seq, "a"))
    assert camera.buffer.pop_due(1, 0, oldest_ns=SECOND // 2) is None
    camera.push(frame(5, "a"))
    request = camera.buffer.pop_due(1, 0, oldest_ns=SECOND // 2)
    assert (seqs(request), states(request)) == ([5], [{"a": "new"}])
    assert camera.buffer.too_old == 5


def test_a_ring_holds_a_whole_window_before_the_oldest_of_a_window_of_pending_frames():
    camera = BufferedCamera(frames=9, lossless=True)
    for seq in range(9):
        camera.push(frame(seq, "a"))
    camera.pop_due(hop=9)
    for seq in range(9, 18):
        camera.push(frame(seq, "a"))
    (window,) = camera.pop_due(hop=1).windows(9).values()
    assert window.keypoints[:, 0, 0].tolist() == list(range(1, 10))
