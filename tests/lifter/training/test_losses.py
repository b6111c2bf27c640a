"""Losses and metrics have the values of the papers' published code on the same tensors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lifter.evaluation import metrics
from lifter.training import losses
from stream.errors import ConfigError

REFERENCE = np.load(Path(__file__).with_name("losses.npz"), allow_pickle=False)
PREDICTED, TARGET = torch.from_numpy(REFERENCE["pred"]), torch.from_numpy(REFERENCE["target"])

# The weights of the papers.
MIXSTE = {"weighted_mpjpe": 1.0, "smoothness": 0.5, "velocity": 2.0}
MOTIONBERT = {"mpjpe": 1.0, "scaled_mpjpe": 0.5, "velocity": 20.0}
LOSSES = {
    "mpjpe": losses.mpjpe,
    "weighted_mpjpe": losses.weighted_mpjpe,
    "temporal_consistency": losses.smoothness,
    "mean_velocity": losses.velocity,
    "mb_mpjpe": losses.mpjpe,
    "mb_n_mpjpe": losses.scaled_mpjpe,
    "mb_velocity": losses.velocity,
    "mb_limb_var": losses.limb_variance,
    "mb_limb_gt": losses.limb_length,
    "mb_angle": losses.angle,
    "mb_angle_velocity": losses.angle_velocity,
    "mixste_total": losses.total(MIXSTE),
    "mb_total": losses.total(MOTIONBERT),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_reference_value(name: str) -> None:
    assert LOSSES[name](PREDICTED, TARGET).item() == pytest.approx(float(REFERENCE[name]), abs=1e-5)


def test_procrustes_error_has_the_reference_values_per_frame() -> None:
    flat = [x.reshape(-1, 17, 3).astype(np.float64) for x in (REFERENCE["pred"], REFERENCE["target"])]
    np.testing.assert_allclose(metrics.p_mpjpe(*flat) / 1000, REFERENCE["p_mpjpe_per_frame"], atol=1e-5)


def test_acceleration_error_has_the_reference_values() -> None:
    first = [x[0].astype(np.float64) for x in (REFERENCE["pred"], REFERENCE["target"])]
    np.testing.assert_allclose(
        metrics.acceleration_error(*first) / 1000, REFERENCE["acc_error_seq0"], atol=1e-5
    )


def test_the_newest_frames_weigh_more() -> None:
    target = torch.zeros(1, 40, 17, 3)
    late, early = target.clone(), target.clone()
    late[:, -1], early[:, 0] = 1.0, 1.0
    assert losses.newest(late, target) > 50 * losses.newest(early, target)


def test_unequal_limbs_are_counted_and_equal_ones_are_not() -> None:
    poses = torch.zeros(1, 1, 17, 3)
    poses[0, 0, 2, 1] = poses[0, 0, 5, 1] = poses[0, 0, 3, 1] = poses[0, 0, 6, 1] = 0.4
    assert losses.limb_symmetry(poses, poses) == 0
    poses[0, 0, 5:7, 1] = 0.7
    # One of six pairs of bones differs by 0.3 m.
    assert losses.limb_symmetry(poses, poses).item() == pytest.approx(0.05)


def test_losses_of_change_are_left_out_for_single_frames() -> None:
    one = losses.total(MIXSTE)(PREDICTED[:, :1], TARGET[:, :1])
    assert one.item() == pytest.approx(losses.weighted_mpjpe(PREDICTED[:, :1], TARGET[:, :1]).item())


def test_an_unknown_loss_is_refused_with_the_names_of_all_losses() -> None:
    with pytest.raises(ConfigError, match="expected names out of mpjpe, weighted_mpjpe"):
        losses.total({"mpjep": 1.0})
