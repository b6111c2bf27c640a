"""Training windows as live use reads them: successive windows of one motion, and short histories."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lifter import normalise, weights
from lifter.data.mocap import MocapClips
from lifter.training.losses import acceleration
from lifter.training.mocap_batches import MocapBatches, render_windows
from lifter.training.objective import Objective
from lifter.training.recipe import load
from stream.errors import ConfigError
from tests.lifter.mocap_clips import seeded, walking_clips

SMALL = Path("configs/train/small.yaml")
STAGE = "stages=[{steps: 1, batch: 6, frames: 9, keep: [5, 3], successive: 3}]"
NARROW = "lifter.config={width: 8, depth: 4, heads: 2}"


@pytest.fixture
def walking(tmp_path: Path) -> MocapClips:
    return walking_clips(tmp_path)


def test_successive_windows_show_the_same_motion_a_frame_later(walking: MocapClips) -> None:
    batch = MocapBatches(walking, load(SMALL, [STAGE])).make(0)
    assert (batch.inputs.shape, batch.targets.shape) == ((6, 9, 17, 4), (6, 9, 17, 3))
    assert batch.newest_reflection is not None
    newest = normalise.decode(
        batch.targets[:, -1:], normalise.NormalisationContext(batch.newest_reflection)
    ).view(3, 2, 17, 3)
    speed = newest.diff(dim=0).norm(dim=-1).mean(dim=(0, 2))
    assert (speed > 0).all()
    assert (speed < 0.05).all()  # metres per frame
    # Both windows show their common frames, but for their own normalisation.
    windows = batch.inputs.view(3, 2, 9, 17, 4)
    shifted = (windows[1:, :, :-1] - windows[:-1, :, 1:]).abs().median()
    unshifted = (windows[1:] - windows[:-1]).abs().median()
    assert shifted < 0.5 * unshifted


def test_the_live_loss_adds_the_jitter_between_windows(walking: MocapClips) -> None:
    plain = load(SMALL, [STAGE, NARROW])
    live = load(SMALL, [STAGE, NARROW, "live_loss={acceleration: 1.0}"])
    batch = MocapBatches(walking, plain).make(0)
    torch.manual_seed(0)
    model = weights.build(plain.lifter)
    difference = Objective(model, live)(batch, 0) - Objective(model, plain)(batch, 0)
    assert difference.item() > 0
    still = torch.zeros(1, 3, 17, 3)
    jump = still.clone()
    jump[:, 1] = torch.tensor([1.0, 0.0, 0.0])
    assert acceleration(jump, still).item() == pytest.approx(2.0)


def padding_frames(keypoints: Tensor) -> Tensor:
    """Leading frames (B,) that repeat the first one."""
    repeated = (keypoints == keypoints[:, :1]).all(dim=3).all(dim=2).long()
    return repeated.cumprod(dim=1).sum(dim=1) - 1


def test_half_of_the_cold_starts_have_a_history_below_the_square_root_of_the_window(
    walking: MocapClips,
) -> None:
    keypoints, truth, *_ = render_windows(walking, 400, 36, seeded(), cold_starts=1.0)
    history = 36 - padding_frames(keypoints)
    assert history.min() == 1
    assert 0.4 < (history <= 6).float().mean() < 0.65
    cold = padding_frames(torch.cat([truth, truth[..., :1]], dim=-1)) >= 30
    assert torch.equal(truth[cold][:, 0], truth[cold][:, 29])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["live_loss={velocity: 1.0}"], "live_loss: expected a stage with `successive` of 2 or more"),
        (["stages=[{steps: 1, batch: 2, successive: 3}]"], "successive: expected at most batch = 2, got 3"),
        (["data.cold_starts=1.5"], r"data.cold_starts: expected a number in 0\.\.1, got 1\.5"),
        (["data.cold_starts=often"], "data.cold_starts: expected a number"),
    ],
)
def test_wrong_settings_are_named(walking: MocapClips, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MocapBatches(walking, load(SMALL, overrides))
