import threading
from dataclasses import replace

from stream.clock import SystemClock
from stream.health import Health
from stream.messages import Header, Message, PoseFrame
from stream.runtime.lost_events import MAX_LOST, LostEvents
from stream.runtime.sink_thread import SinkThread
from tests.examples import NOW_NS, UNIX_NS, pose, pose_frame, status

WAIT_S = 60.0


def frame(seq: int, *ids: str, lost: tuple[str, ...] = (), source: str = "cam0") -> PoseFrame:
    persons = (*(pose(id) for id in ids), *(pose(id, state="lost") for id in lost))
    return pose_frame(header=Header(source, seq, NOW_NS, UNIX_NS), persons=persons)


def states(message: Message | None) -> dict[str, str]:
    assert isinstance(message, PoseFrame)
    return {person.id: person.state for person in message.persons}


def test_lost_persons_of_dropped_frames_are_carried_to_the_next_frame_of_their_source() -> None:
    events = LostEvents()
    events.keep(frame(1, "a", lost=("b",)))
    events.keep(frame(2, "a", lost=("c",)))
    events.keep(frame(3, "a"))
    other = frame(4, "x", source="cam1")
    assert events.carry(other) is other
    assert states(events.carry(frame(5, "a"))) == {"a": "ok", "c": "lost", "b": "lost"}
    last = frame(6, "a")
    assert events.carry(last) is last


def test_a_person_back_in_the_next_frame_is_not_lost() -> None:
    events = LostEvents()
    events.keep(frame(1, lost=("a",)))
    assert states(events.carry(frame(2, "a"))) == {"a": "ok"}


def test_other_messages_and_frames_without_lost_persons_keep_nothing() -> None:
    events = LostEvents()
    for message in (status(), frame(1, "a"), frame(2)):
        events.keep(message)
    assert events.pop() is None


def test_a_source_without_later_frames_gets_its_newest_dropped_frame() -> None:
    events = LostEvents()
    events.keep(frame(1, lost=("a",)))
    events.keep(frame(2))
    last = events.pop()
    assert isinstance(last, PoseFrame)
    assert (last.header.seq, states(last), events.pop()) == (2, {"a": "lost"}, None)


def test_the_number_of_kept_persons_is_bounded() -> None:
    events = LostEvents()
    for number in range(3 * MAX_LOST):
        events.keep(frame(number, lost=(str(number),)))
    kept = events.pop()
    assert kept is not None
    assert len(kept.persons) <= MAX_LOST + 1


def test_a_sink_that_is_too_slow_still_gets_every_lost_person() -> None:
    release, received, done = threading.Event(), list[str](), threading.Event()

    class SlowSink:
        endpoint = ""
        close_timeout_s = 0.0

        def open(self) -> None:
            pass

        def close(self) -> None:
            pass

        def send(self, message: PoseFrame) -> None:
            release.wait(WAIT_S)
            received.extend(person.id for person in message.persons if person.state == "lost")
            if message.header.seq == 999:
                done.set()

    health = Health()
    thread = SinkThread("slow", SlowSink, SystemClock(), health, lossless=False, queue_size=10)
    thread.start()
    assert thread.wait_until_open(WAIT_S)
    for seq in range(1000):
        lost = (str(seq),) if seq % 40 == 0 else ()
        thread.send(replace(frame(seq, "a", lost=lost), session="s"))
    release.set()
    assert done.wait(WAIT_S)
    assert thread.close(WAIT_S)
    assert sorted(received, key=int) == [str(seq) for seq in range(0, 1000, 40)]
    assert health.counter("slow", "drop.sink_slow") > 900
