"""Steadiness of bone lengths over time and between both sides of the body."""

import numpy as np
import pytest

from lifter.evaluation.labelled_video import asymmetry_mm, bone_variation


def test_bones_of_constant_length_do_not_vary() -> None:
    still = np.random.default_rng(0).normal(0, 0.3, (1, 17, 3)).repeat(9, axis=0).astype(np.float32)
    assert bone_variation(still) == pytest.approx(0, abs=1e-4)
    growing = still * np.linspace(0.9, 1.1, 9, dtype=np.float32)[:, None, None]
    assert bone_variation(growing) == pytest.approx(100 * np.linspace(0.9, 1.1, 9).std(), rel=1e-3)


def test_lengths_of_left_and_right_limbs_are_compared() -> None:
    poses = np.zeros((3, 17, 3), np.float32)
    poses[:, 2, 1] = poses[:, 5, 1] = 0.4  # thighs
    poses[:, 3, 1], poses[:, 6, 1] = 0.8, 0.88  # shins of 40 and 48 cm
    assert asymmetry_mm(poses) == pytest.approx(20.0, rel=1e-4)
