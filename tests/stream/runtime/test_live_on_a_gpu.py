"""Two streams of people at once on a GPU, with CUDA graphs and without."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stream.config.load import resolve
from stream.messages import PoseFrame
from stream.runtime.pipeline import Pipeline

WAIT_S = 120.0
FRAMES = 120


def lifted(weights: Path, pace: str, **lifter) -> dict[tuple[str, int], PoseFrame]:
    """Pose frames of two streams with two and three walkers, by source and number."""
    walkers = {"fps": 50, "frames": FRAMES, "pace": pace}
    pipeline = Pipeline(
        resolve(
            {
                "sources": {
                    "left": {"type": "synthetic", "persons": 2, **walkers},
                    "right": {"type": "synthetic", "persons": 3, "seed": 1, **walkers},
                },
                "lifter": {"weights": str(weights), "threads": 1, "blend": 0, **lifter},
                "tracking": {"confirm_frames": 1},
                "sinks": {"out": {"type": "memory"}},
            }
        )
    )
    with pipeline:
        assert pipeline.wait(WAIT_S)
    assert pipeline.error is None
    messages = pipeline.sink_threads["out"].sink.messages
    frames = [message for message in messages if isinstance(message, PoseFrame)]
    return {(frame.header.source, frame.header.seq): frame for frame in frames}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("engine", ["eager", "graphs"])
def test_two_streams_on_a_gpu_have_the_poses_of_the_cpu(tiny_weights: Path, engine: str):
    """Streams of files, because their passes are the same in every run."""
    settings = {"max_age_ms": None, "hop": 3}
    expected = lifted(tiny_weights, "full", device="cpu", engine="eager", **settings)
    poses = lifted(tiny_weights, "full", device="cuda", engine=engine, **settings)
    assert poses.keys() == expected.keys()
    assert len(poses) == 2 * FRAMES
    for key, frame in poses.items():
        people = [(person.state, person.xyz) for person in expected[key].persons]
        assert [person.state for person in frame.persons] == [state for state, _ in people]
        for person, (_, xyz) in zip(frame.persons, people, strict=True):
            np.testing.assert_allclose(person.xyz, xyz, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("engine", ["eager", "graphs"])
def test_two_live_streams_on_a_gpu_lose_no_frame(tiny_weights: Path, engine: str):
    poses = lifted(tiny_weights, "realtime", device="cuda", engine=engine)
    assert len(poses) == 2 * FRAMES
    half_way = [poses[source, FRAMES // 2] for source in ("left", "right")]
    assert [len(frame.persons) for frame in half_way] == [2, 3]
    assert all(np.isfinite(person.xyz).all() for frame in half_way for person in frame.persons)
