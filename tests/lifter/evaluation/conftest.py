"""Test clips, and a lifter whose poses are known."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lifter.evaluation.offline_lifter import OfflineLifter
from lifter.spec import LifterSpec
from lifter.synthesis.synthetic_clips import SyntheticClip, synthetic_clips
from lifter.training.dry_run import WRITERS


class InputAsPose(nn.Module):
    """A network whose x and y are those of its input, in metres, and whose z is the row in the window."""

    def forward(self, x: Tensor) -> Tensor:
        depth = torch.arange(x.shape[1])[None, :, None, None] * torch.ones_like(x[..., :1])
        depth[:, :, 0] = 0.0
        return torch.cat([x[..., :2] - x[:, :, :1, :2], depth], dim=-1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file `motion.npz`: four clips of 90 frames."""
    path = tmp_path_factory.mktemp("motion")
    WRITERS["motion"](path, {"file": "motion.npz"}, 90)
    return path


@pytest.fixture(scope="session")
def clips(folder: Path) -> list[SyntheticClip]:
    return list(synthetic_clips(folder / "motion.npz"))


@pytest.fixture(scope="session")
def lifter() -> OfflineLifter:
    spec = LifterSpec(name="flat", frames=27, in_channels=3, normalise="person")
    return OfflineLifter(InputAsPose(), spec)
