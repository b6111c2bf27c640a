"""Rare poses keep bone lengths and change only their own joints."""

from pathlib import Path

import pytest
import torch

from lifter.data.mocap import MocapClips
from lifter.synthesis.rare_poses import bend_forward, mix_bodies, move_arms, seat
from tests.lifter.mocap_clips import random_windows, seeded, walking_clips


@pytest.fixture
def walking(tmp_path: Path) -> MocapClips:
    return walking_clips(tmp_path)


def test_a_seated_person_has_thighs_forward_and_the_same_bone_lengths(walking: MocapClips) -> None:
    xyz = random_windows(walking, 16)
    seated = seat(xyz, seeded())
    ahead = torch.tensor([0.0, -1.0, 0.0])  # the figure faces -y
    assert ((seated[:, :, 2] - seated[:, :, 1]) @ ahead > 0.1).all()
    for joint in (2, 3, 5, 6):
        torch.testing.assert_close(
            (seated[:, :, joint] - seated[:, :, joint - 1]).norm(dim=-1),
            (xyz[:, :, joint] - xyz[:, :, joint - 1]).norm(dim=-1),
        )
    torch.testing.assert_close(seated[:, :, 7:], xyz[:, :, 7:])


def test_a_bent_person_leans_forward_on_the_same_legs(walking: MocapClips) -> None:
    xyz = random_windows(walking)
    bent = bend_forward(xyz, seeded())
    legs = [0, 1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(bent[:, :, legs], xyz[:, :, legs])
    trunk, upright = bent[:, :, 8] - bent[:, :, 0], xyz[:, :, 8] - xyz[:, :, 0]
    torch.testing.assert_close(trunk.norm(dim=-1), upright.norm(dim=-1))
    right = xyz[:, :, 1] - xyz[:, :, 4]
    ahead = torch.stack([-right[..., 1], right[..., 0], torch.zeros_like(right[..., 0])], dim=-1)
    leaning = ((trunk - upright) * ahead).sum(dim=-1).mean(dim=1)  # (B,)
    assert (leaning > 0).all()
    assert (trunk[..., 2] < upright[..., 2]).float().mean() > 0.8


def test_moving_the_arms_changes_no_other_joints(walking: MocapClips) -> None:
    xyz = random_windows(walking)
    reaching = move_arms(xyz, seeded())
    still = [joint for joint in range(19) if joint not in (12, 13, 15, 16)]
    torch.testing.assert_close(reaching[:, :, still], xyz[:, :, still])
    for above, below in ((11, 12), (12, 13), (14, 15), (15, 16)):
        length = (reaching[:, :, below] - reaching[:, :, above]).norm(dim=-1)
        torch.testing.assert_close(length, (xyz[:, :, below] - xyz[:, :, above]).norm(dim=-1))
    assert (reaching[:, :, 13] - xyz[:, :, 13]).norm(dim=-1).mean() > 0.1


def test_mixed_bodies_have_the_legs_of_one_person_and_the_trunk_of_another(walking: MocapClips) -> None:
    xyz = random_windows(walking, 4)
    mixed = mix_bodies(xyz)
    torch.testing.assert_close(mixed[:, :, :7], xyz[:, :, :7])
    torch.testing.assert_close(
        (mixed[:, :, 8] - mixed[:, :, 0]).norm(dim=-1),
        (xyz[:, :, 8] - xyz[:, :, 0]).norm(dim=-1).roll(1, dims=0),
    )
