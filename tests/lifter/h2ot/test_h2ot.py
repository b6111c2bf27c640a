"""Pruned models against runs put together of the released blocks: two samplings, three interpolations."""

import pytest
import torch
from torch import nn

import lifter
from lifter.h2ot.hourglass import Hourglass
from lifter.h2ot.recover import TRI, Kept, interpolate
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
    """A released model pruned as its reference, its hourglass, and what goes into it."""
    reference = oracle(request.param)
    schedule = Schedule(reference["h2ot"]["r"], reference["h2ot"]["b"])
    arch, config = REFERENCES[request.param], reference["config"]
    model = lifter.from_official(arch, reference["state_dict"], schedule, **config)
    hourglass = next(part for part in model.modules() if isinstance(part, Hourglass))
    given = [reference["inputs"][name] for name in ("x", "x2d", "x3d", "t") if name in reference["inputs"]]
    return reference["h2ot"]["variants"], model, hourglass, given


def test_frames_are_sampled_and_recovered_as_in_the_reference(pruned):
    variants, model, hourglass, given = pruned
    expected = variants["round"]  # the one that holds the centre
    indices = [pruner.index.tolist() for pruner in hourglass.pruners]
    assert indices == [index.tolist() for index in expected["idx_list"]]
    assert hourglass.pruners[-1].places.tolist() == expected["global_index"].tolist()
    with torch.inference_mode():
        torch.testing.assert_close(model(*given), expected["tri_at_index"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", ["floor", "round"])
def test_any_sorted_choice_of_frames_gives_the_poses_of_the_reference(pruned, fixed_pruner, sampling):
    variants, model, hourglass, given = pruned
    expected = variants[sampling]
    hourglass.pruners = nn.ModuleList(fixed_pruner(index) for index in expected["idx_list"])
    with torch.inference_mode():
        hourglass.recoverer = Kept()
        torch.testing.assert_close(model(*given), expected["q_hat"], atol=1e-5, rtol=0)
        hourglass.recoverer = TRI(len(hourglass.every_frame), places=None)
        torch.testing.assert_close(model(*given), expected["tri_at_index"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", ["floor", "round"])
def test_other_ways_to_interpolate_are_the_same_at_other_places(pruned, sampling):
    """As if the kept poses were evenly spread, from frame to frame or from edge to edge of the window."""
    variants, _, hourglass, _ = pruned
    expected, times = variants[sampling], hourglass.every_frame
    F, K = len(times), expected["q_hat"].shape[1]
    even = interpolate(expected["q_hat"], torch.arange(K), times * ((K - 1) / (F - 1)))
    torch.testing.assert_close(even, expected["tri_align_true"], atol=1e-5, rtol=0)
    edges = interpolate(expected["q_hat"], torch.arange(K), (times + 0.5) * (K / F) - 0.5)
    torch.testing.assert_close(edges, expected["tri_align_false"], atol=1e-5, rtol=0)
