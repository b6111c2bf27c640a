import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sources.recording import Recording
from sources.synthetic import Synthetic
from stream.clock import FakeClock
from stream.errors import ConfigError, EndOfStream
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import Header, KeypointFrame, Keypoints
from stream.protocols import ComponentContext, opened
from stream.tracking.tracker import Tracker

MS = 1_000_000
START = 1_600_000_000_000_000_000


def recorded(path: Path, *at_ms: int) -> Path:
    """Frames of one person at these times, x and y of every joint being the frame's number."""
    keypoint_files.write(
        path,
        [
            KeypointFrame(
                Header("cam0", seq, 0, START + at * MS),
                (640, 480),
                "coco17",
                (Keypoints(np.full((17, 2), seq, np.float32), np.ones(17, np.float32), "a3f9k"),),
                0,
            )
            for seq, at in enumerate(at_ms)
        ],
    )
    return path


def recording(path: Path | None = None, clock: FakeClock | None = None, **settings: object) -> Recording:
    chosen = Recording.Settings(path=None if path is None else str(path), **settings)
    return Recording(chosen, ComponentContext("replay", clock=clock or FakeClock()))


def all_of(source: Recording) -> list[KeypointFrame]:
    frames = []
    try:
        while True:
            frame = source.read(1.0)
            assert frame is not None
            frames.append(frame)
    except EndOfStream:
        return frames


@pytest.mark.parametrize("name", ["walk.jsonl", "walk.npz"])
def test_at_full_speed_every_frame_comes_at_once_with_its_recorded_time(tmp_path, name):
    clock = FakeClock()
    with opened(recording(recorded(tmp_path / name, 0, 20, 45), clock, speed="full")) as source:
        assert not source.live
        frames = all_of(source)
    assert [frame.header for frame in frames] == [
        Header("cam0", 0, 0, START),
        Header("cam0", 1, 20 * MS, START + 20 * MS),
        Header("cam0", 2, 45 * MS, START + 45 * MS),
    ]
    assert [frame.detected_ns for frame in frames] == [0, 20 * MS, 45 * MS]
    assert [frame.persons[0].xy[0, 0] for frame in frames] == [0, 1, 2]
    assert {(frame.size_wh, frame.skeleton, frame.persons[0].id) for frame in frames} == {
        ((640, 480), "coco17", "a3f9k")
    }
    assert clock.now_ns() == FakeClock().now_ns()


@pytest.mark.parametrize(("speed", "took_ms"), [(1.0, (0, 20, 60)), (2.0, (0, 10, 30)), (0.5, (0, 40, 120))])
def test_at_a_speed_frames_are_captured_when_they_are_due(tmp_path, speed, took_ms):
    clock = FakeClock(now_ns=7000 * MS, unix_ns=9000 * MS)
    with opened(recording(recorded(tmp_path / "walk.npz", 0, 20, 60), clock, speed=speed)) as source:
        assert source.live
        frames = all_of(source)
    assert [frame.header for frame in frames] == [
        Header("cam0", seq, (7000 + ms) * MS, (9000 + ms) * MS) for seq, ms in enumerate(took_ms)
    ]
    assert [frame.detected_ns for frame in frames] == [(7000 + ms) * MS for ms in took_ms]
    assert clock.now_ns() == (7000 + took_ms[-1]) * MS


def test_before_a_frame_is_due_there_is_none(tmp_path):
    clock = FakeClock()
    with opened(recording(recorded(tmp_path / "walk.npz", 0, 1000), clock)) as source:
        assert source.read(0.4) is not None
        assert source.read(0.4) is None
        assert source.read(0.4) is None
        assert source.read(0.4) is not None


def test_a_loop_goes_on_one_frame_after_its_end(tmp_path):
    with opened(recording(recorded(tmp_path / "walk.npz", 0, 20, 40), speed="full", loop=True)) as source:
        frames = [source.read(0) for _ in range(7)]
    assert [(f.header.seq, f.header.captured_ns // MS, f.persons[0].xy[0, 0]) for f in frames if f] == [
        (0, 0, 0), (1, 20, 1), (2, 40, 2), (3, 60, 0), (4, 80, 1), (5, 100, 2), (6, 120, 0),
    ]  # fmt: skip


def test_a_loop_of_one_frame_shows_it_once_a_second(tmp_path):
    with opened(recording(recorded(tmp_path / "walk.jsonl", 0), speed="full", loop=True)) as source:
        frames = [source.read(0) for _ in range(3)]
    assert [f.header.captured_ns for f in frames if f] == [0, 1000 * MS, 2000 * MS]


def test_opened_again_it_begins_again_and_closing_twice_is_harmless(tmp_path):
    source = recording(recorded(tmp_path / "walk.npz", 0, 20), speed="full")
    with opened(source):
        source.read(0)
    source.close()
    with pytest.raises(EndOfStream):
        source.read(0)
    with opened(source):
        assert len(all_of(source)) == 2


def test_an_array_of_another_tool_plays_under_the_name_of_the_source(tmp_path):
    np.save(tmp_path / "alphapose.npy", np.ones((3, 17, 3)))
    chosen = {"skeleton": "coco17", "fps": 25.0, "size_wh": (640, 480)}
    with opened(recording(tmp_path / "alphapose.npy", speed="full", **chosen)) as source:
        frames = all_of(source)
    assert [frame.header for frame in frames] == [
        Header("replay", seq, 40 * MS * seq, 40 * MS * seq) for seq in range(3)
    ]


def test_a_bad_line_stops_where_it_is(tmp_path):
    path = recorded(tmp_path / "walk.jsonl", 0, 20, 40)
    path.write_bytes(path.read_bytes()[:-20])
    with opened(recording(path, speed="full")) as source:
        assert source.read(0) is not None
        assert source.read(0) is not None
        with pytest.raises(ConfigError, match=r"walk\.jsonl, line 3: .* not a valid message"):
            source.read(0)


def test_what_is_wrong_with_the_file_is_said_before_it_plays(tmp_path):
    with pytest.raises(
        ConfigError, match=r"replay: expected a file of keypoints at .*gone\.npz; there is none"
    ):
        recording(tmp_path / "gone.npz")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ConfigError, match="expected at least one frame, got an empty file"):
        recording(tmp_path / "empty.jsonl").open()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speed": 0}, "speed: expected a number above 0, or full, got 0"),
        ({"fps": 0}, "fps: expected a number above 0, got 0"),
        ({"size_wh": (0, 1)}, "size_wh: expected a positive width and height"),
        ({"skeleton": "coco"}, "did you mean 'coco17'"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_expected(settings, message):
    with pytest.raises(ConfigError, match=message):
        Recording.Settings(**settings)


# The packaged walk


def test_the_packaged_walk_is_one_lap_of_one_person_at_50_hz():
    with opened(recording(speed="full")) as source:
        frames = all_of(source)
    assert len(frames) == 600
    assert {(f.header.source, f.size_wh, f.skeleton, len(f.persons)) for f in frames} == {
        ("walk", (1280, 720), "h36m17", 1)
    }
    assert {b.header.captured_ns - a.header.captured_ns for a, b in pairwise(frames)} == {20 * MS}
    score = np.stack([f.persons[0].score for f in frames])
    assert 0.01 < (score == 0).mean() < 0.04
    assert PACKAGED_RECORDING.stat().st_size < 300_000


def test_the_packaged_walk_is_what_its_script_makes(tmp_path):
    made = tmp_path / "walk.npz"
    script = Path(__file__).parents[2] / "scripts" / "make_recording.py"
    subprocess.run([sys.executable, str(script), str(made)], check=True, timeout=120)
    with np.load(made) as new, np.load(PACKAGED_RECORDING) as packaged:
        assert set(new) == set(packaged)
        for name in new:
            if name == "keypoints":  # the last digits are the processor's
                np.testing.assert_allclose(new[name], packaged[name], atol=0.01)
            else:
                np.testing.assert_array_equal(new[name], packaged[name])


def test_a_looped_walk_stays_one_person_who_never_jumps():
    tracker = Tracker(Tracker.Settings(confirm_frames=1), seed=1)
    with opened(recording(speed="full", loop=True)) as source:
        frames = [tracker.update(frame)[0] for _ in range(1300) if (frame := source.read(0))]
    assert len({person.id for frame in frames for person in frame.persons}) == 1
    hips = np.stack([frame.persons[0].xy[0] for frame in frames])
    step = np.linalg.norm(np.diff(hips, axis=0), axis=1)
    assert np.nanmax(step) < 25


def test_the_walk_is_the_synthetic_walker_s():
    with opened(recording(speed="full")) as source:
        frames = all_of(source)
    walker = Synthetic(Synthetic.Settings(), ComponentContext("walk"))
    for frame in frames[::50]:
        true = walker.camera.project(walker.truth(frame.header.seq))[0]
        off = np.linalg.norm(frame.persons[0].xy - true, axis=1)
        assert np.nanmax(off) < 12
