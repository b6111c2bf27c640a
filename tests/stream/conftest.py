from pathlib import Path

import pytest

TINY_FRAMES = 27


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained lifter of 27 frames: it says nothing true, but takes the whole way in a millisecond."""
    import torch

    from lifter.spec import LifterSpec, Schedule
    from lifter.weights import build, save

    torch.manual_seed(0)
    spec = LifterSpec(
        name="tiny",
        frames=TINY_FRAMES,
        in_channels=3,
        normalise="person",
        schedule=Schedule(keep=(14, 9), at=(0, 1)),
        config={"width": 16, "depth": 2, "heads": 2},
    )
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(path, build(spec), spec)
    return path
