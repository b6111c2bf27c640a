import dataclasses

import numpy as np

from stream.clock import FakeClock
from stream.config.load import resolve
from stream.errors import EndOfStream
from stream.messages import Header, KeypointFrame, Keypoints
from stream.protocols import ComponentContext
from stream.runtime.camera_stages import LifterInput
from stream.runtime.source_thread import SourceThread
from stream.windows.resample import Timing

MS = 1_000_000
BODY = np.random.default_rng(5).uniform((-50, -150), (50, 150), (17, 2)).astype(np.float32)
HOUR = 3600 * 1000


def at(ms: float, *people: float | tuple[float, str], seq: int = 0, camera: str = "cam0") -> KeypointFrame:
    """A frame captured at `ms`, with a person at each of these x, or (x, id)."""
    persons = []
    for person in people:
        x, id = person if isinstance(person, tuple) else (person, None)
        persons.append(Keypoints(BODY + np.float32((x, 360)), np.full(17, 0.9, np.float32), id))
    at_ns = round(ms * MS)
    return KeypointFrame(Header(camera, seq, at_ns, at_ns), (1280, 720), "h36m17", tuple(persons), at_ns)


class Script:
    """A source that plays frames; a number instead is so many ms of silence."""

    def __init__(self, clock: FakeClock, *items: KeypointFrame | float, live: bool = True) -> None:
        self.live = live
        self._clock = clock
        self._items = iter(items)

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def read(self, timeout_s: float) -> KeypointFrame | None:
        item = next(self._items, None)
        if item is None:
            raise EndOfStream("all was played")
        if isinstance(item, KeypointFrame):
            self._clock.advance(item.header.captured_ns / 1e9 - self._clock.now_ns() / 1e9)
            return item
        self._clock.advance(item / 1e3)
        return None


class ErrorListener:
    """Keeps the error of a source thread."""

    error: Exception | None = None

    def on_camera(self, camera: str, size_wh: tuple[int, int]) -> None:
        pass

    def on_frames(self) -> None:
        pass

    def on_error(self, component: str, error: Exception) -> None:
        self.error = error


class Played:
    """Results of a script: rows of (ms, {id: state}) in the order in which they are published."""

    def __init__(
        self,
        *items: KeypointFrame | float,
        live: bool = True,
        tracking: dict | None = None,
        script: type[Script] = Script,
        source: dict | None = None,
    ) -> None:
        tree = {"sources": {"cam0": source or {"type": "synthetic"}}, "sinks": {"out": {"type": "memory"}}}
        config = resolve(tree | {"tracking": {"confirm_frames": 1} | (tracking or {})})
        clock = FakeClock(now_ns=0)
        context, listener = ComponentContext("cam0", clock=clock), ErrorListener()
        lifter_input = LifterInput("h36m17", 243, Timing(20 * MS))
        thread = SourceThread(script(clock, *items, live=live), config, lifter_input, context, listener)
        thread.start()
        assert thread.join(20.0)
        assert listener.error is None
        self.health = context.health
        self.rows = []
        self.headers: list[Header] = []
        self.windows = []
        for buffer in thread.buffers:
            while request := buffer.pop_due(1, 0):
                self.windows += request.windows(243).values()
                for frame in request.frames:
                    self.headers.append(frame.header)
                    states = {person.id: person.state for person in frame.persons}
                    self.rows.append((frame.header.captured_ns / MS, states))

    @property
    def states(self) -> list[list[str]]:
        return [list(states.values()) for _, states in self.rows]

    @property
    def ids(self) -> list[str]:
        """Ids in the order in which they first appear."""
        return list(dict.fromkeys(id for _, states in self.rows for id in states))

    def drops(self) -> dict[str, int]:
        counters = self.health.report()["counters"]
        return {key.partition(".drop.")[2]: n for key, n in counters.items() if ".drop." in key}


def test_a_frame_older_than_the_frame_before_is_dropped_and_counted():
    played = Played(at(1000, 300), at(1040, 300), at(1020, 300), at(1060, 300))
    assert [ms for ms, _ in played.rows[:-1]] == [1000, 1040, 1060]
    assert played.drops() == {"out_of_order": 1}


def test_a_duplicate_frame_is_dropped_and_counted():
    played = Played(at(1000, 300), at(1040, 300), at(1040, 300), at(1060, 300))
    assert [ms for ms, _ in played.rows[:-1]] == [1000, 1040, 1060]
    assert played.drops() == {"duplicate": 1}


class Backlog(Script):
    """A source whose frames were captured, and have waited, before they are read."""

    def read(self, timeout_s: float) -> KeypointFrame | None:
        now_ns = self._clock.now_ns()
        item = super().read(timeout_s)
        if item is not None:
            self._clock.advance((now_ns - self._clock.now_ns()) / 1e9)
        return item


def test_late_frames_are_dropped_while_others_wait_behind_them():
    waiting = [at(ms, 300) for ms in range(100, 1500, 100)]
    played = Played(1500.0, *waiting, script=Backlog)
    assert [ms for ms, _ in played.rows[:-1]] == list(range(500, 1500, 100))
    assert played.drops() == {"source_behind": 4}


def test_a_late_frame_with_none_behind_it_is_tracked():
    played = Played(1500.0, at(100, 300), 10.0, at(150, 300), 10.0, script=Backlog)
    assert [ms for ms, _ in played.rows[:-1]] == [100, 150]
    assert played.drops() == {}


def test_frames_of_several_cameras_are_not_out_of_order_to_each_other():
    played = Played(at(1000, 300), at(990, 300, camera="cam1"), at(1020, 300), at(1010, 300, camera="cam1"))
    assert played.drops() == {}


def test_after_a_clock_reset_of_hours_tracking_starts_anew():
    later = [at(2 * HOUR + 20 * step, 300) for step in range(5)]
    played = Played(*later, *(at(1000 + 20 * step, 300) for step in range(5)))
    before, after = played.ids
    assert [states for _, states in played.rows] == [
        {before: "new"},
        *[{before: "ok"}] * 4,
        {before: "lost"},
        {after: "new"},
        *[{after: "ok"}] * 4,
        {after: "lost"},
    ]
    assert played.drops() == {}
    assert played.health.counter("cam0", "clock_back") == 1


def test_no_window_mixes_times_before_and_after_a_clock_reset():
    played = Played(at(2 * HOUR, 300), at(2 * HOUR + 20, 300), at(1000, 900), at(1020, 900))
    for window in played.windows:
        positions = {round(x) for x in window.keypoints[:, 0, 0] - BODY[0, 0]}
        assert positions in ({300}, {900})
        assert np.ptp(window.captured_ns) == 242 * 20 * MS


def stamped(ms: float, unix_ms: float) -> KeypointFrame:
    """A frame captured at `ms` on our clock, which the sender's clock calls `unix_ms`."""
    frame = at(ms, 300)
    header = dataclasses.replace(frame.header, captured_unix_ns=round(unix_ms * MS))
    return dataclasses.replace(frame, header=header)


def test_tracking_starts_anew_when_a_sender_clock_hours_ahead_is_corrected():
    early = [stamped(1000 + 20 * step, HOUR + 20 * step) for step in range(3)]
    corrected = [stamped(1060 + 20 * step, 1060 + 20 * step) for step in range(3)]
    played = Played(*early, *corrected)
    assert played.states == [["new"], ["ok"], ["ok"], ["lost"], ["new"], ["ok"], ["ok"], ["lost"]]
    assert played.health.counter("cam0", "clock_back") == 1


def test_frames_of_a_sender_with_a_clock_ahead_keep_the_order_of_its_timestamps():
    stamps = [HOUR, HOUR + 40, HOUR + 20, HOUR + 60]
    played = Played(*(stamped(1000 + 20 * step, stamp) for step, stamp in enumerate(stamps)))
    published = [header.captured_unix_ns // MS for header in played.headers[:-1]]
    assert published == [HOUR, HOUR + 40, HOUR + 60]
    assert played.drops() == {"out_of_order": 1}


def test_a_clock_set_forward_by_hours_ends_windows_and_drops_no_frame():
    played = Played(at(1000, 300), at(1020, 300), at(1000 + HOUR, 300), at(1020 + HOUR, 300))
    before, after = played.ids
    assert [states for _, states in played.rows] == [
        {before: "new"},
        {before: "ok"},
        {after: "new", before: "lost"},
        {after: "ok"},
        {after: "lost"},
    ]
    assert played.drops() == {}


def test_one_frame_from_the_future_does_not_stop_the_following_frames():
    played = Played(at(1000, 300), at(1020 + HOUR, 300), at(1040, 300), at(1060, 300))
    assert played.states == [["new"], ["new", "lost"], ["lost"], ["new"], ["ok"], ["lost"]]


def test_a_lost_person_never_comes_back_with_the_same_id():
    empty = [at(1020 + 20 * step) for step in range(40)]  # 0.8 s
    played = Played(at(1000, 300), *empty, at(1820, 300), at(1840, 300))
    first, second = played.ids
    assert [states.get(first) for _, states in played.rows].count("lost") == 1
    assert played.rows[-2:] == [(1840, {second: "ok"}), (1840, {second: "lost"})]


def test_a_person_lost_by_silence_gets_a_new_id():
    played = Played(at(1000, 300), 600, at(1620, 300))
    first, second = played.ids
    assert [states for _, states in played.rows] == [
        {first: "new"},
        {first: "lost"},
        {second: "new"},
        {second: "lost"},
    ]


def test_frames_from_before_the_announcement_of_a_loss_are_dropped_so_that_no_time_goes_back():
    late = [at(1000 + 20 * step, 300) for step in range(1, 20)]  # they arrive together, 0.6 s late
    played = Played(at(1000, 300), 600, *late, at(1620, 300), at(1640, 300))
    times_ms = [ms for ms, _ in played.rows]
    assert times_ms == sorted(times_ms)
    assert played.states == [["new"], ["lost"], ["new"], ["ok"], ["lost"]]
    assert played.drops() == {"out_of_order": 19}


def test_a_person_selected_again_as_the_largest_gets_a_new_id():
    def large_person(x: float) -> Keypoints:
        return Keypoints(BODY * np.float32(2) + np.float32((x, 360)), np.full(17, 0.9, np.float32))

    def scene(step: int, with_large: bool) -> KeypointFrame:
        frame = at(20 * step, 300)
        people = (*frame.persons, large_person(1000)) if with_large else frame.persons
        return KeypointFrame(frame.header, frame.size_wh, frame.skeleton, people, frame.detected_ns)

    shown = [scene(step, 5 <= step < 60) for step in range(1, 150)]
    played = Played(*shown, tracking={"persons": "largest"})
    lost: set[str] = set()
    for _, states in played.rows:
        assert not lost & states.keys()
        lost |= {id for id, state in states.items() if state == "lost"}
    assert len(played.ids) == 3


def test_ids_from_a_sender_are_kept_even_after_they_were_lost():
    played = Played(at(1000, (300, "anna")), at(3000, (300, "anna")))
    assert [states for _, states in played.rows] == [{"anna": "new"}, {"anna": "new"}, {"anna": "lost"}]


def test_a_gap_longer_than_the_limit_starts_a_new_window():
    played = Played(*(at(20 * step, 300) for step in range(50)), at(2000, 900), at(2020, 900))
    assert {round(x) for x in played.windows[-1].keypoints[:, 0, 0] - BODY[0, 0]} == {900}


def test_a_gap_below_the_limit_keeps_the_person():
    played = Played(*(at(20 * step, 300) for step in range(50)), at(1180, 300), at(1200, 300))
    assert len(played.ids) == 1
    assert played.states == [["new"], *[["ok"]] * 51, ["lost"]]


def test_a_live_source_that_ends_announces_its_people_as_lost():
    played = Played(at(1000, 300, 900), at(1020, 300, 900))
    assert played.states == [["new", "new"], ["ok", "ok"], ["lost", "lost"]]
    assert (played.headers[-1].seq, played.headers[-1].captured_ns) == (0, 1020 * MS)


def test_a_file_that_ends_loses_no_person():
    played = Played(at(1000, 300), at(1020, 300), live=False)
    assert played.states == [["new"], ["ok"]]


def test_a_file_gives_the_same_ids_every_time():
    first, second = (Played(at(1000, 300, 900), at(1020, 300, 900), live=False) for _ in range(2))
    assert first.ids == second.ids


def test_in_ten_seconds_without_detections_a_person_is_lost_once_and_then_absent():
    empty = [at(1020 + 20 * step) for step in range(500)]
    played = Played(at(1000, 300), *empty)
    states = [state[0] if state else None for state in played.states]
    assert states == ["new", *["predicted"] * 25, "lost", *[None] * 474]


def test_one_frame_without_detection_is_predicted_and_then_ok_again():
    played = Played(at(1000, 300), at(1020, 300), at(1040), at(1060, 300))
    assert played.states == [["new"], ["ok"], ["predicted"], ["ok"], ["lost"]]
    assert len(played.ids) == 1


def test_tracking_of_a_file_starts_anew_when_its_times_go_back():
    before = [at(5000 + 20 * step, 300) for step in range(8)]
    after = [at(1000 + 20 * step, 300) for step in range(8)]
    played = Played(*before, *after, live=False, tracking={"confirm_frames": 3})
    assert played.states == [["new"], *[["ok"]] * 7, ["lost"], ["new"], *[["ok"]] * 7]
    assert len(played.ids) == 2
    assert played.headers[8].captured_ns == 5140 * MS


def test_a_camera_that_falls_silent_beside_a_busy_camera_loses_its_people():
    busy = [at(1000 + 20 * step, 300, camera="cam1") for step in range(60)]
    played = Played(at(1000, 300), *busy)
    rows = list(zip(played.headers, played.states, strict=True))
    silent = [(header.captured_ns, states) for header, states in rows if header.source == "cam0"]
    assert [states for _, states in silent] == [["new"], ["lost"]]
    assert silent[-1][0] < 1700 * MS  # before the source ended


def test_a_camera_with_a_stopped_clock_loses_its_people():
    class StoppedClock(Script):
        def read(self, timeout_s: float) -> KeypointFrame | None:
            self._clock.advance(0.02)
            return next(self._items, None) or super().read(timeout_s)

    played = Played(*[at(1000, 300)] * 60, script=StoppedClock)
    assert played.states == [["new"], ["lost"]]
    assert played.drops() == {"duplicate": 59}
