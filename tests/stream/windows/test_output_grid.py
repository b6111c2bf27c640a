import numpy as np

from stream.messages import Header, KeypointFrame, Keypoints
from stream.windows.resample import Timing
from tests.buffered_camera import BufferedCamera

MS = 1_000_000
UNIX_NS = 1_700_000_000_000_000_000
STEP_NS = 20 * MS


def grid_camera(predict_s: float = 0.25, resampled: bool = True) -> BufferedCamera:
    """A camera whose poses come every 20 ms."""
    return BufferedCamera(predict_s=predict_s, timing=Timing(STEP_NS if resampled else None, STEP_NS))


def push(camera: BufferedCamera, at_ms: float, *ids: str, wall_offset_ns: int = 0) -> None:
    """Push a frame captured at `at_ms` with these people."""
    persons = tuple(Keypoints(np.full((17, 2), at_ms, np.float32), np.ones(17, np.float32), id) for id in ids)
    at_ns = round(at_ms * MS)
    header = Header("cam0", 0, at_ns, UNIX_NS + at_ns + wall_offset_ns)
    camera.push(KeypointFrame(header, (640, 480), "h36m17", persons, at_ns))


def pop_points(camera: BufferedCamera) -> list[tuple[float, int, dict[str, str]]]:
    """(time in ms, seq, state by id) of all points that are due."""
    points = []
    while request := camera.pop_due():
        for point in request.frames:
            header = point.header
            assert header.captured_unix_ns - header.captured_ns == UNIX_NS
            states = {person.id: person.state for person in point.persons}
            points.append((header.captured_ns / MS, header.seq, states))
    return points


def test_points_are_exactly_one_step_apart_although_the_camera_stutters():
    camera = grid_camera()
    for at in (3, 24, 61, 62, 99, 131):
        push(camera, at, "a")
    points = [(at, seq) for at, seq, _ in pop_points(camera)]
    assert points == [(3, 0), (23, 1), (43, 2), (63, 3), (83, 4), (103, 5), (123, 6)]


def test_no_point_lies_beyond_the_newest_captured_frame():
    camera = grid_camera()
    for at in (0, 33, 66):
        push(camera, at, "a")
        assert all(time <= at for time, _, _ in pop_points(camera))


def test_a_new_event_appears_once_at_any_camera_rate():
    camera = grid_camera()
    for at in (0, 40, 80):
        push(camera, at, "a")
    for at in (81, 86, 91, 96, 101):
        push(camera, at, "a", *("b" if at > 81 else ()))
    states = [by_id for _, _, by_id in pop_points(camera)]
    assert [by_id["a"] for by_id in states] == ["new", "ok", "ok", "ok", "ok", "ok"]
    assert [by_id.get("b") for by_id in states] == [None] * 5 + ["new"]


def test_a_person_between_the_last_detection_and_an_empty_frame_is_predicted():
    camera = grid_camera()
    push(camera, 0, "a")
    push(camera, 50)
    assert [states["a"] for _, _, states in pop_points(camera)] == ["new", "predicted", "predicted"]


def test_a_lost_event_appears_once_on_the_grid():
    camera = grid_camera(predict_s=0.05)
    push(camera, 0, "a")
    for at in (25, 50, 75, 100, 125):
        push(camera, at)
    states = [states.get("a") for _, _, states in pop_points(camera)]
    assert states == ["new", "predicted", "predicted", "predicted", "lost", None, None]


def test_a_gap_is_not_filled_with_points_and_shows_in_the_seq():
    camera = grid_camera(predict_s=0.25)
    push(camera, 0, "a")
    push(camera, 20, "a")
    push(camera, 1030, "b")
    push(camera, 1050, "b")
    assert [(at, seq) for at, seq, _ in pop_points(camera)] == [(0, 0), (20, 1), (1040, 52)]


def test_people_lost_by_silence_are_announced_at_a_grid_point():
    camera = grid_camera(predict_s=0.25)
    push(camera, 0, "a")
    push(camera, 20, "a")
    assert camera.expire(290 * MS)
    assert pop_points(camera) == [(0, 0, {"a": "new"}), (20, 1, {"a": "ok"}), (280, 14, {"a": "lost"})]


def test_after_a_clock_reset_points_go_on_with_the_next_seq():
    camera = grid_camera()
    push(camera, 5000, "a")
    push(camera, 5020, "a")
    camera.restart(5020 * MS)
    push(camera, 100, "b")
    push(camera, 120, "b")
    points = pop_points(camera)
    assert [(seq, states) for _, seq, states in points] == [
        (0, {"a": "new"}),
        (1, {"a": "ok"}),
        (2, {"a": "lost"}),
        (3, {"b": "new"}),
        (4, {"b": "ok"}),
    ]
    assert [at for at, _, _ in points[3:]] == [100, 120]


def test_no_point_is_lost_or_reordered_when_the_hop_grows():
    for resampled in (True, False):
        camera, seqs = grid_camera(resampled=resampled), []
        for count, at in enumerate(range(0, 1000, 7)):  # 143 Hz
            push(camera, at, "a")
            if count in (0, 1, 2, 5, 12, 20, 28, 30, 37, 45) or (count > 45 and count % 8 == 0):
                seqs += [seq for _, seq, _ in pop_points(camera)]
        assert seqs + [seq for _, seq, _ in pop_points(camera)] == list(range(50))


def test_points_wait_for_their_look_ahead():
    camera = grid_camera()
    for at in range(0, 200, 40):
        push(camera, at, "a")
    request = camera.pop_due(lag=3)
    assert [point.header.captured_ns // MS for point in request.frames] == [0, 20, 40, 60, 80, 100]
    (window,) = request.windows(9).values()
    assert window.captured_ns[-1] == 160 * MS


def test_a_person_first_detected_in_the_newest_frame_has_a_window():
    for resampled in (True, False):
        camera = grid_camera(resampled=resampled)
        push(camera, 0, "a")
        push(camera, 60, "a", "b")
        request = camera.pop_due()
        assert len(request.frames) == 4
        assert len(request.windows(9)) == 2


def test_wall_clock_times_of_points_are_exactly_one_step_apart():
    camera = grid_camera()
    for number, at in enumerate((3, 24, 61, 62, 99, 131)):
        # The clocks are never read at the same instant.
        push(camera, at, "a", wall_offset_ns=(0, 900, -700, 40_000, -3, 8)[number])
    assert [at for at, _, _ in pop_points(camera)] == [3, 23, 43, 63, 83, 103, 123]


def test_a_wall_clock_set_forward_moves_the_following_points():
    camera = grid_camera()
    for at, wall_offset_ns in ((0, 0), (20, 0), (40, 10**12), (60, 10**12)):
        push(camera, at, "a", wall_offset_ns=wall_offset_ns)
    headers = [point.header for point in camera.pop_due().frames]
    offsets = [header.captured_unix_ns - header.captured_ns - UNIX_NS for header in headers]
    assert offsets == [0, 0, 10**12, 10**12]
