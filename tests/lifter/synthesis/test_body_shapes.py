"""Bodies are resized and mirrored."""

from pathlib import Path

import pytest
import torch

from lifter.data.mocap import MocapClips
from lifter.normalise import SIZE_BONES, SIZE_M
from lifter.synthesis.body_shapes import mirror_windows, random_bone_factors, resize_bones
from stream.skeletons import SKELETONS
from tests.lifter.mocap_clips import random_windows, seeded, walking_clips


@pytest.fixture
def walking(tmp_path: Path) -> MocapClips:
    return walking_clips(tmp_path)


def test_resized_bodies_have_the_given_proportions_and_the_size_of_an_adult(walking: MocapClips) -> None:
    xyz, scale = random_windows(walking), random_bone_factors(8, seeded(1))
    resized = resize_bones(xyz, scale)
    before = (xyz[:, :, 2] - xyz[:, :, 1]).norm(dim=-1) / (xyz[:, :, 13] - xyz[:, :, 12]).norm(dim=-1)
    after = (resized[:, :, 2] - resized[:, :, 1]).norm(dim=-1) / (resized[:, :, 13] - resized[:, :, 12]).norm(
        dim=-1
    )
    torch.testing.assert_close(after / before, (scale[:, 2] / scale[:, 13])[:, None].expand(8, 30))
    total = sum((resized[:, :, a] - resized[:, :, b]).norm(dim=-1) for a, b in SIZE_BONES)
    torch.testing.assert_close(torch.as_tensor(total).mean(dim=1), torch.full((8,), SIZE_M))


def test_mirroring_exchanges_left_and_right_joints(walking: MocapClips) -> None:
    xyz = random_windows(walking, 2)
    mirrored = mirror_windows(xyz, torch.tensor([True, False]))
    for left, right in SKELETONS["h36m17"].flip_pairs:
        torch.testing.assert_close(mirrored[0, :, left], xyz[0, :, right] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(mirrored[1], xyz[1])
