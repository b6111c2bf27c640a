"""Live and offline say the same, and a replay says it again."""

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
AHEAD = 15  # frames that the source may be ahead of the lifter


class Hurried(Recording):
    """A recording as a camera that is as fast as the lifter takes it."""

    pipeline: Pipeline

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.live = True
        self.given = 0

    def read(self, timeout_s: float) -> KeypointFrame | None:
        while self.pipeline.health.counter("lift", "frames") < self.given - LAG - AHEAD:
            time.sleep(0.001)
        frame = super().read(timeout_s)
        assert frame is not None
        self.given += 1
        return dataclasses.replace(frame, detected_ns=time.monotonic_ns())


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keypoints of a walker at 25 Hz, of which a tenth is missing."""
    settings = Synthetic.Settings(fps=FPS, frames=FRAMES, missing=0.1, pace="full")
    path = tmp_path_factory.mktemp("walk") / "walk.npy"
    with opened(Synthetic(settings, ComponentContext("walk"))) as source:
        frames = [source.read(0.0) for _ in range(FRAMES)]
    people = [frame.persons[0] for frame in frames if frame is not None]
    np.save(path, np.stack([np.column_stack([who.xy, who.score]) for who in people]))
    return path


def config(weights: Path, walk: Path, **lifter) -> Config:
    array = {"skeleton": "h36m17", "fps": FPS, "size_wh": (1280, 720)}
    return resolve(
        {
            "sources": {"walk": {"type": "recording", "path": str(walk), "speed": "full", **array}},
            "lifter": {"weights": str(weights), "device": "cpu", "threads": 1, "kp2d": True, **lifter},
            "tracking": {"confirm_frames": 1},
            "sinks": {"out": {"type": "memory"}},
        }
    )


def run(pipeline: Pipeline) -> list[PoseFrame]:
    with pipeline:
        assert pipeline.wait(WAIT_S)
    assert pipeline.error is None
    return [each for each in pipeline.outlets["out"].sink.messages if isinstance(each, PoseFrame)]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[int, int]]:
    """Of every frame by seq: when the window ends that its pose is from, and how much of it is padded."""
    kept: dict[int, tuple[int, int]] = {}
    emitted = FrameAssembler.batch

    def batch(self, passes, *rest):
        made = emitted(self, passes, *rest)
        moments = iter(made.frames)
        for one in passes:
            for moment in islice(moments, len(one.due.arrivals)):
                if one.people:
                    kept[moment.header.seq] = max(
                        (int(each.window.captured_ns[-1]), moment.window.padded)
                        for each in one.people.values()
                    )
        return made

    monkeypatch.setattr(FrameAssembler, "batch", batch)
    return kept


@pytest.mark.parametrize("resample", ["auto", "native"])
def test_a_recording_through_the_live_path_says_what_lifting_it_offline_says(
    tiny_weights: Path, walk: Path, ends: dict[int, tuple[int, int]], resample: str
):
    settings = {"lag": LAG, "blend": 0, "resample": resample}
    offline = {
        frame.header.seq: frame for frame in run(Pipeline(config(tiny_weights, walk, hop=1, **settings)))
    }
    there = dict(ends)
    ends.clear()

    live_config = config(tiny_weights, walk, **settings)
    part = dataclasses.replace(live_config.sources["walk"], make=Hurried)
    pipeline = Pipeline(dataclasses.replace(live_config, sources={"walk": part}))
    Hurried.pipeline = pipeline
    live = [frame for frame in run(pipeline) if "lost" not in {who.state for who in frame.persons}]

    assert [frame.header.seq for frame in live] == list(offline)
    assert ({frame.mode for frame in live}, {frame.mode for frame in offline.values()}) == (
        {"fixed"},
        {"offline"},
    )
    same = [frame for frame in live if ends[frame.header.seq] == there[frame.header.seq]]
    assert len(same) > 10
    for frame in same:
        (here,), (other,) = frame.persons, offline[frame.header.seq].persons
        assert here.state == other.state
        for value in ("score", "origin", "kp2d"):
            assert getattr(here, value).tobytes() == getattr(other, value).tobytes()
        # Only poses that are published are computed, and how many at once decides their last bits.
        np.testing.assert_allclose(here.xyz, other.xyz, rtol=0, atol=1e-6)


@pytest.mark.parametrize("output", ["captured", "grid"])
@pytest.mark.parametrize("resample", ["auto", "native"])
def test_a_replay_of_a_recording_is_identical_bit_for_bit(
    tiny_weights: Path, walk: Path, resample: str, output: str
):
    settings = {"lag": "half", "resample": resample, "output": output}
    first, second = (run(Pipeline(config(tiny_weights, walk, **settings))) for _ in range(2))
    assert len(first) >= FRAMES
    assert [said(frame) for frame in first] == [said(frame) for frame in second]


def said(frame: PoseFrame) -> object:
    """All of a pose frame but what is a run's own: its name, and how long things took."""
    quiet = dataclasses.replace(frame, session="", published_unix_ns=0, latency_ms=type(frame.latency_ms)())
    return plain(quiet)


def test_a_steady_grid_says_what_the_captured_frames_say_in_between(tiny_weights: Path, walk: Path):
    settings = {"lag": LAG, "hop": 1, "blend": 0}
    captured = run(Pipeline(config(tiny_weights, walk, **settings)))
    grid = run(Pipeline(config(tiny_weights, walk, output="grid", **settings)))
    times = np.array([frame.header.captured_ns for frame in grid])
    assert np.unique(np.diff(times)).tolist() == [20_000_000]
    assert [frame.header.seq for frame in grid] == list(range(len(grid)))
    assert times[-1] == captured[-1].header.captured_ns
    assert len(grid) == 2 * FRAMES - 1
    for frame, between, other in zip(grid[::2], [*grid[1::2], None], captured, strict=True):
        (here,), (there,) = frame.persons, other.persons
        np.testing.assert_allclose(here.xyz, there.xyz, atol=1e-5)
        assert (here.state, here.origin.tolist()) == (there.state, there.origin.tolist())
        if between is not None:
            assert set(between.persons[0].origin.tolist()) <= {
                JointOrigin.INTERPOLATED,
                JointOrigin.PREDICTED,
            }
