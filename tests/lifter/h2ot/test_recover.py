"""The recovery of pruned frames."""

import numpy as np
import pytest
import torch

from lifter.h2ot.recover import TRA, TRI, CentreFrame, TokenTRI, interpolate


def line(kept):
    """Poses on a straight line through time, at kept frames."""
    return (
        torch.as_tensor(kept, dtype=torch.float32)[..., None, None] * torch.tensor([1.0, -2.0, 0.5])
    ).expand(*np.shape(kept), 17, 3)


def test_linear_motion_is_recovered_exactly_and_held_at_the_ends():
    kept = torch.tensor([2, 3, 7, 8])
    poses = interpolate(line(kept)[None], kept, torch.arange(10))
    held = np.clip(np.arange(10), 2, 8)
    torch.testing.assert_close(poses[0], line(held), atol=1e-6, rtol=0)


def test_poses_can_be_interpolated_between_frames():
    kept = torch.tensor([[0, 4], [0, 2]])
    poses = interpolate(line(kept), kept, torch.tensor([0.5, 1.75, 9.0]))
    expected = line([[0.5, 1.75, 4.0], [0.5, 1.75, 2.0]])
    torch.testing.assert_close(poses, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("rows", [None, slice(3, 8)])
def test_tokens_are_interpolated_before_the_head(fixed, rows):
    kept = torch.tensor([0, 4, 5, 8])
    tokens = torch.rand(2, 4, 17, 3, generator=torch.Generator().manual_seed(0))
    recovered = interpolate(tokens, kept, torch.arange(9)).square()[:, rows or slice(None)]
    poses = TokenTRI(9, kept.numpy() if fixed else None)(tokens, kept, torch.square, rows)
    torch.testing.assert_close(poses, recovered)
    after_the_head = TRI(9, kept.numpy())(tokens, kept, torch.square, rows)
    assert not torch.allclose(poses, after_the_head)


def test_a_single_kept_frame_gives_all_poses():
    poses = interpolate(line([3])[None], torch.tensor([3]), torch.arange(5))
    torch.testing.assert_close(poses[0], line([3, 3, 3, 3, 3]))


def test_fixed_frames_recover_like_frame_indices_that_come_with_the_tokens():
    frames = np.array([0, 4, 5, 8])
    tokens = torch.rand(2, 4, 17, 3, generator=torch.Generator().manual_seed(0))
    kept = torch.from_numpy(frames)
    fixed = TRI(9, frames)(tokens, kept, lambda x: x)
    for indices in (kept, kept.expand(2, -1)):
        assert torch.equal(fixed, TRI(9, None)(tokens, indices, lambda x: x))
    assert torch.equal(fixed[:, frames], tokens)


@pytest.mark.parametrize("frames", [9, 27])
def test_attention_recovers_all_frames_of_each_joint_independently(frames):
    torch.manual_seed(0)
    recover = TRA(frames, 16, heads=4)
    torch.nn.init.normal_(recover.tokens)
    tokens = torch.rand(2, 5, 17, 16)
    poses = recover(tokens, torch.arange(5), lambda x: x)
    assert poses.shape == (2, frames, 17, 16)
    alone = recover(tokens[:, :, 3:4], torch.arange(5), lambda x: x)
    torch.testing.assert_close(poses[:, :, 3:4], alone)


def test_learnable_tokens_start_at_zero():
    assert TRA(9, 16).tokens.abs().max() == 0


def test_the_centre_frame_is_found_among_the_kept_frames():
    tokens = torch.arange(8.0).view(2, 4, 1, 1)
    assert CentreFrame(4)(tokens, torch.tensor([0, 1, 4, 8]), lambda x: x).flatten().tolist() == [2.0, 6.0]
    kept = torch.tensor([[0, 1, 4, 8], [4, 5, 6, 7]])
    assert CentreFrame(4)(tokens, kept, lambda x: x).flatten().tolist() == [2.0, 4.0]
