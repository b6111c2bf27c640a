"""Lifting live and offline gives the same poses, and a replay gives the same bits."""

import dataclasses
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from sources.recording import Recording
from sources.synthetic import Synthetic
from stream.config.load import Config, resolve
from stream.messages import JointOrigin, KeypointFrame, PoseFrame
from stream.postprocess.assemble import FrameAssembler
from stream.protocols import ComponentContext, opened
from stream.runtime.pipeline import Pipeline
from tests.examples import plain

WAIT_S = 60.0
FRAMES, FPS = 160, 25
LAG = 4
MAX_AHEAD = 15  # frames that the source may be ahead of the lifter


class RecordingAsCamera(Recording):
    """A recording that counts as a live camera and is as fast as the lifter."""

    pipeline: Pipeline

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.live = True
        self.frames_read = 0

    def read(self, timeout_s: float) -> KeypointFrame | None:
        while self.pipeline.health.counter("lift", "frames") < self.frames_read - LAG - MAX_AHEAD:
            time.sleep(0.001)
        frame = super().read(timeout_s)
        assert frame is not None
        self.frames_read += 1
        return dataclasses.replace(frame, detected_ns=time.monotonic_ns())


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keypoints of a walker at 25 Hz; a tenth of the joints is missing."""
    settings = Synthetic.Settings(fps=FPS, frames=FRAMES, missing=0.1, pace="full")
    path = tmp_path_factory.mktemp("walk") / "walk.npy"
    with opened(Synthetic(settings, ComponentContext("walk"))) as source:
        frames = [source.read(0.0) for _ in range(FRAMES)]
    people = [frame.persons[0] for frame in frames if frame is not None]
    np.save(path, np.stack([np.column_stack([person.xy, person.score]) for person in people]))
    return path


def config(weights: Path, walk: Path, **lifter) -> Config:
    array = {"skeleton": "h36m17", "fps": FPS, "size_wh": (1280, 720)}
    return resolve(
        {
            "sources": {"walk": {"type": "recording", "path": str(walk), "speed": "full", **array}},
            "lifter": {
                "weights": str(weights),
                "device": "cpu",
                "threads": 1,
                "kp2d": True,
                "max_age_ms": None,
                **lifter,
            },
            "tracking": {"confirm_frames": 1},
            "sinks": {"out": {"type": "memory"}},
        }
    )


def run(pipeline: Pipeline) -> list[PoseFrame]:
    with pipeline:
        assert pipeline.wait(WAIT_S)
    assert pipeline.error is None
    messages = pipeline.sink_threads["out"].sink.messages
    return [message for message in messages if isinstance(message, PoseFrame)]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[int, int]]:
    """By seq of a frame: the end of the window that its pose comes from, and its padded frames."""
    window_ends: dict[int, tuple[int, int]] = {}
    assemble = FrameAssembler.batch

    def batch(self, passes, *rest):
        assembled = assemble(self, passes, *rest)
        frames = iter(assembled.frames)
        for lifted_pass in passes:
            for frame in islice(frames, len(lifted_pass.request.frames)):
                if lifted_pass.people:
                    window_ends[frame.header.seq] = max(
                        (int(lifted.window.captured_ns[-1]), frame.window.padded)
                        for lifted in lifted_pass.people.values()
                    )
        return assembled

    monkeypatch.setattr(FrameAssembler, "batch", batch)
    return window_ends


@pytest.mark.parametrize("resample", ["auto", "native"])
def test_a_recording_gives_the_same_poses_live_and_offline(
    tiny_weights: Path, walk: Path, ends: dict[int, tuple[int, int]], resample: str
):
    settings = {"lag": LAG, "blend": 0, "resample": resample}
    offline = {
        frame.header.seq: frame for frame in run(Pipeline(config(tiny_weights, walk, hop=1, **settings)))
    }
    offline_ends = dict(ends)
    ends.clear()

    live_config = config(tiny_weights, walk, **settings)
    part = dataclasses.replace(live_config.sources["walk"], make=RecordingAsCamera)
    pipeline = Pipeline(dataclasses.replace(live_config, sources={"walk": part}))
    RecordingAsCamera.pipeline = pipeline
    live = [frame for frame in run(pipeline) if "lost" not in {person.state for person in frame.persons}]

    assert [frame.header.seq for frame in live] == list(offline)
    assert ({frame.mode for frame in live}, {frame.mode for frame in offline.values()}) == (
        {"fixed"},
        {"offline"},
    )
    same = [frame for frame in live if ends[frame.header.seq] == offline_ends[frame.header.seq]]
    assert len(same) > 10
    for frame in same:
        (person,), (other,) = frame.persons, offline[frame.header.seq].persons
        assert person.state == other.state
        for value in ("score", "origin", "kp2d"):
            assert getattr(person, value).tobytes() == getattr(other, value).tobytes()
        # The number of poses computed at once decides their last bits.
        np.testing.assert_allclose(person.xyz, other.xyz, rtol=0, atol=1e-6)


@pytest.mark.parametrize("output", ["captured", "grid"])
@pytest.mark.parametrize("resample", ["auto", "native"])
def test_a_replay_of_a_recording_is_identical_bit_for_bit(
    tiny_weights: Path, walk: Path, resample: str, output: str
):
    settings = {"lag": "half", "resample": resample, "output": output}
    first, second = (run(Pipeline(config(tiny_weights, walk, **settings))) for _ in range(2))
    assert len(first) >= FRAMES
    assert [without_times(frame) for frame in first] == [without_times(frame) for frame in second]


def without_times(frame: PoseFrame) -> object:
    """A pose frame without the session id, the publish time and the latencies, which differ between runs."""
    stripped = dataclasses.replace(
        frame, session="", published_unix_ns=0, latency_ms=type(frame.latency_ms)()
    )
    return plain(stripped)


def test_poses_on_the_output_grid_equal_the_poses_of_captured_frames(tiny_weights: Path, walk: Path):
    settings = {"lag": LAG, "hop": 1, "blend": 0}
    captured = run(Pipeline(config(tiny_weights, walk, **settings)))
    grid = run(Pipeline(config(tiny_weights, walk, output="grid", **settings)))
    times = np.array([frame.header.captured_ns for frame in grid])
    assert np.unique(np.diff(times)).tolist() == [20_000_000]
    assert [frame.header.seq for frame in grid] == list(range(len(grid)))
    assert times[-1] == captured[-1].header.captured_ns
    assert len(grid) == 2 * FRAMES - 1
    for frame, between, other in zip(grid[::2], [*grid[1::2], None], captured, strict=True):
        (person,), (same,) = frame.persons, other.persons
        np.testing.assert_allclose(person.xyz, same.xyz, atol=1e-5)
        assert (person.state, person.origin.tolist()) == (same.state, same.origin.tolist())
        if between is not None:
            assert set(between.persons[0].origin.tolist()) <= {
                JointOrigin.INTERPOLATED,
                JointOrigin.PREDICTED,
            }
