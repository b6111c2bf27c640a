import numpy as np

from stream.health import Health
from stream.messages import Header, KeypointFrame, Keypoints
from stream.windows.camera_buffer import CameraBuffer
from stream.windows.resample import Timing

MS = 1_000_000
UNIX_NS = 1_700_000_000_000_000_000
TICK = 20 * MS


def box(predict_s: float = 0.25, lossless: bool = False, resampled: bool = True) -> CameraBuffer:
    """An intake whose poses come every 20 ms."""
    pace = Timing(TICK if resampled else None, TICK)
    return CameraBuffer("cam0", 9, lossless, predict_s, Health(), pace)


def see(intake: CameraBuffer, at_ms: float, *ids: str, seq: int = 0) -> None:
    persons = tuple(Keypoints(np.full((17, 2), at_ms, np.float32), np.ones(17, np.float32), id) for id in ids)
    at_ns = round(at_ms * MS)
    header = Header("cam0", seq, at_ns, UNIX_NS + at_ns)
    intake.accept(KeypointFrame(header, (640, 480), "h36m17", persons, at_ns))


def taken(intake: CameraBuffer, lag: int = 0) -> list[tuple[float, int, dict[str, str]]]:
    """(time in ms, seq, states) of all points that are due."""
    out = []
    while due := intake.take(hop=1, lag=lag):
        for arrival in due.arrivals:
            header = arrival.header
            assert header.captured_unix_ns - header.captured_ns == UNIX_NS
            states = {who.id: who.state for who in arrival.sightings}
            out.append((header.captured_ns / MS, header.seq, states))
    return out


def test_points_are_exactly_a_tick_apart_however_the_camera_stutters():
    intake = box()
    for at in (3, 24, 61, 62, 99, 131):
        see(intake, at, "a")
    assert [(at, seq) for at, seq, _ in taken(intake)] == [
        (3, 0),
        (23, 1),
        (43, 2),
        (63, 3),
        (83, 4),
        (103, 5),
        (123, 6),
    ]


def test_no_point_lies_beyond_the_newest_captured_frame():
    intake = box()
    for at in (0, 33, 66):
        see(intake, at, "a")
        assert all(time <= at for time, _, _ in taken(intake))


def test_a_slow_camera_says_new_once_and_a_fast_one_does_not_swallow_it():
    intake = box()
    for at in (0, 40, 80):
        see(intake, at, "a")
    for at in (81, 86, 91, 96, 101):
        see(intake, at, "a", *("b" if at > 81 else ()))
    states = [who for _, _, who in taken(intake)]
    assert [who["a"] for who in states] == ["new", "ok", "ok", "ok", "ok", "ok"]
    assert [who.get("b") for who in states] == [None] * 5 + ["new"]


def test_a_person_between_the_last_sighting_and_an_empty_frame_is_predicted():
    intake = box()
    see(intake, 0, "a")
    see(intake, 50)
    assert [who["a"] for _, _, who in taken(intake)] == ["new", "predicted", "predicted"]


def test_lost_is_said_once_on_the_grid():
    intake = box(predict_s=0.05)
    see(intake, 0, "a")
    for at in (25, 50, 75, 100, 125):
        see(intake, at)
    states = [who.get("a") for _, _, who in taken(intake)]
    assert states == ["new", "predicted", "predicted", "predicted", "lost", None, None]


def test_a_gap_is_not_filled_with_points_and_shows_in_the_seq():
    intake = box(predict_s=0.25)
    see(intake, 0, "a")
    see(intake, 20, "a")
    see(intake, 1030, "b")
    see(intake, 1050, "b")
    assert [(at, seq) for at, seq, _ in taken(intake)] == [(0, 0), (20, 1), (1040, 52)]


def test_silence_is_announced_at_a_point_of_the_grid():
    intake = box(predict_s=0.25)
    see(intake, 0, "a")
    see(intake, 20, "a")
    assert intake.expire(290 * MS) == ["a"]
    assert taken(intake) == [(0, 0, {"a": "new"}), (20, 1, {"a": "ok"}), (280, 14, {"a": "lost"})]


def test_after_a_clock_was_set_back_points_go_on_with_the_next_seq():
    intake = box()
    see(intake, 5000, "a")
    see(intake, 5020, "a")
    assert intake.restart(5020 * MS) == ["a"]
    see(intake, 100, "b")
    see(intake, 120, "b")
    got = taken(intake)
    assert [(seq, who) for _, seq, who in got] == [
        (0, {"a": "new"}),
        (1, {"a": "ok"}),
        (2, {"a": "lost"}),
        (3, {"b": "new"}),
        (4, {"b": "ok"}),
    ]
    assert [at for at, _, _ in got[3:]] == [100, 120]


def test_nothing_is_lost_and_the_order_is_kept_when_the_hop_grows():
    for resampled in (True, False):
        intake, seqs = box(resampled=resampled), []
        for count, at in enumerate(range(0, 1000, 7)):  # 143 Hz
            see(intake, at, "a")
            if count in (0, 1, 2, 5, 12, 20, 28, 30, 37, 45) or (count > 45 and count % 8 == 0):
                seqs += [seq for _, seq, _ in taken(intake)]
        assert seqs + [seq for _, seq, _ in taken(intake)] == list(range(50))


def test_points_wait_for_their_look_ahead():
    intake = box()
    for at in range(0, 200, 40):
        see(intake, at, "a")
    due = intake.take(hop=1, lag=3)
    assert [arrival.header.captured_ns // MS for arrival in due.arrivals] == [0, 20, 40, 60, 80, 100]
    (window,) = due.windows(9).values()
    assert window.captured_ns[-1] == 160 * MS


def test_whoever_is_seen_first_in_the_newest_frame_has_a_window_too():
    for resampled in (True, False):
        intake = box(resampled=resampled)
        see(intake, 0, "a")
        see(intake, 60, "a", "b")
        due = intake.take(hop=1, lag=0)
        assert len(due.arrivals) == 4
        assert len(due.windows(9)) == 2


def test_wall_clock_times_are_as_exactly_apart_though_both_clocks_are_never_read_at_once():
    intake = box()
    for number, at in enumerate((3, 24, 61, 62, 99, 131)):
        between_ns = (0, 900, -700, 40_000, -3, 8)[number]
        header = Header("cam0", number, at * MS, UNIX_NS + at * MS + between_ns)
        person = Keypoints(np.full((17, 2), at, np.float32), np.ones(17, np.float32), "a")
        intake.accept(KeypointFrame(header, (640, 480), "h36m17", (person,), at * MS))
    assert [at for at, _, _ in taken(intake)] == [
        3,
        23,
        43,
        63,
        83,
        103,
        123,
    ]


def test_a_wall_clock_that_is_set_forward_moves_the_points_that_follow():
    intake = box()
    for at, set_ns in ((0, 0), (20, 0), (40, 10**12), (60, 10**12)):
        person = Keypoints(np.full((17, 2), at, np.float32), np.ones(17, np.float32), "a")
        header = Header("cam0", at, at * MS, UNIX_NS + at * MS + set_ns)
        intake.accept(KeypointFrame(header, (640, 480), "h36m17", (person,), at * MS))
    headers = [arrival.header for arrival in intake.take(hop=1, lag=0).arrivals]
    ahead = [header.captured_unix_ns - header.captured_ns - UNIX_NS for header in headers]
    assert ahead == [0, 0, 10**12, 10**12]
