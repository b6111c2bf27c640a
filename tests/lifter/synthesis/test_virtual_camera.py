"""Random cameras see people with true perspective."""

from pathlib import Path

import pytest
import torch

from lifter.data.mocap import MocapClips
from lifter.synthesis.virtual_camera import MIN_DEPTH_M, random_views
from tests.lifter.mocap_clips import random_windows, seeded, walking_clips


@pytest.fixture
def walking(tmp_path: Path) -> MocapClips:
    return walking_clips(tmp_path)


def test_views_keep_distances_between_joints_and_a_distance_to_the_camera(walking: MocapClips) -> None:
    xyz = random_windows(walking, 64)
    view = random_views(xyz, seeded(2))
    assert view.xyz[..., 2].min() >= MIN_DEPTH_M - 0.2
    before = (xyz[:, :, :, None] - xyz[:, :, None]).norm(dim=-1)
    after = (view.xyz[:, :, :, None] - view.xyz[:, :, None]).norm(dim=-1)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


def test_views_are_not_mirrored_and_heads_are_above_ankles(walking: MocapClips) -> None:
    xyz = random_windows(walking, 64)
    view = random_views(xyz, seeded(2))
    basis = [torch.stack([v[:, 0, 1] - v[:, 0, 0], v[:, 0, 3] - v[:, 0, 0], v[:, 0, 16] - v[:, 0, 0]], -1)
             for v in (xyz, view.xyz)]  # fmt: skip
    torch.testing.assert_close(torch.linalg.det(basis[0]), torch.linalg.det(basis[1]), atol=1e-4, rtol=0)
    assert (view.xyz[:, 0, 10, 1] < view.xyz[:, 0, 3, 1]).all()  # y is down


def test_the_projection_without_distortion_is_that_of_a_pinhole(walking: MocapClips) -> None:
    view = random_views(random_windows(walking, 16), seeded(3))
    straight = view.k1 == 0
    pixels = view.project(view.xyz)[straight]
    xyz, focal = view.xyz[straight], view.focal_px[straight]
    expected = (
        xyz[..., :2] / xyz[..., 2:] * focal[:, None, None, None] + view.size_wh[straight][:, None, None] / 2
    )
    torch.testing.assert_close(pixels, expected)
