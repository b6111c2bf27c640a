"""Pruned models against runs assembled from the released blocks: two samplings, three interpolations."""

import pytest
import torch
from torch import nn

import lifter
from lifter.h2ot.hourglass import Hourglass
from lifter.h2ot.recover import TRI, NoRecovery, interpolate
from lifter.spec import Schedule

REFERENCES = {
    "mixste_small": "mixste",
    "motionbert_small": "motionbert",
    "mhformer_small_F9": "mhformer",
    "mhformer_small_F81": "mhformer",
    "d3dp_small": "d3dp",
}


@pytest.fixture(params=REFERENCES)
def pruned(oracle, request):
    """A released model with the pruning of its reference, its hourglass and its inputs."""
    reference = oracle(request.param)
    schedule = Schedule(reference["h2ot"]["r"], reference["h2ot"]["b"])
    arch, config = REFERENCES[request.param], reference["config"]
    model = lifter.from_official(arch, reference["state_dict"], schedule, **config)
    hourglass = next(part for part in model.modules() if isinstance(part, Hourglass))
    inputs = [reference["inputs"][name] for name in ("x", "x2d", "x3d", "t") if name in reference["inputs"]]
    return reference["h2ot"]["variants"], model, hourglass, inputs


def test_frames_are_sampled_and_recovered_as_in_the_reference(pruned):
    variants, model, hourglass, inputs = pruned
    expected = variants["round"]  # its samples contain the centre
    indices = [pruner.index.tolist() for pruner in hourglass.pruners]
    assert indices == [index.tolist() for index in expected["idx_list"]]
    assert hourglass.pruners[-1].fixed_frames.tolist() == expected["global_index"].tolist()
    with torch.inference_mode():
        torch.testing.assert_close(model(*inputs), expected["tri_at_index"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", ["floor", "round"])
def test_any_sorted_frame_indices_give_the_poses_of_the_reference(pruned, fixed_pruner, sampling):
    variants, model, hourglass, inputs = pruned
    expected = variants[sampling]
    hourglass.pruners = nn.ModuleList(fixed_pruner(index) for index in expected["idx_list"])
    with torch.inference_mode():
        hourglass.recoverer = NoRecovery()
        torch.testing.assert_close(model(*inputs), expected["q_hat"], atol=1e-5, rtol=0)
        hourglass.recoverer = TRI(len(hourglass.every_frame), fixed_frames=None)
        torch.testing.assert_close(model(*inputs), expected["tri_at_index"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", ["floor", "round"])
def test_other_interpolations_equal_interpolate_at_other_times(pruned, sampling):
    """Kept poses evenly spaced, between the end frames (align_true) or the edges of the window."""
    variants, _, hourglass, _ = pruned
    expected, times = variants[sampling], hourglass.every_frame
    F, K = len(times), expected["q_hat"].shape[1]
    even = interpolate(expected["q_hat"], torch.arange(K), times * ((K - 1) / (F - 1)))
    torch.testing.assert_close(even, expected["tri_align_true"], atol=1e-5, rtol=0)
    edges = interpolate(expected["q_hat"], torch.arange(K), (times + 0.5) * (K / F) - 0.5)
    torch.testing.assert_close(edges, expected["tri_align_false"], atol=1e-5, rtol=0)
