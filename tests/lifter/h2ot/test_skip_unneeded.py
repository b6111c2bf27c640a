"""Models that leave out what no answer is made of give the poses of those that compute everything."""

import pytest
import torch

from lifter.architectures.d3dp import D3DP
from lifter.architectures.diffpose import DiffPose
from lifter.architectures.mhformer import MHFormer
from lifter.architectures.mixste import MixSTE
from lifter.architectures.motionagformer import MotionAGFormer
from lifter.architectures.motionbert import MotionBERT
from lifter.h2ot.hourglass import Hourglass
from lifter.spec import Schedule
from stream.errors import ConfigError
from tests.lifter.recipe import regenerate

F = 27
TINY = {"frames": F, "width": 16, "depth": 3, "heads": 2}
ARCHITECTURES = {
    "mixste": (MixSTE, {}),
    "mhformer": (MHFormer, {"hidden": 16, "output": "sequence"}),
    "motionbert": (MotionBERT, {"rep_width": 16}),
    "motionagformer": (MotionAGFormer, {"rep_width": 16}),
    "d3dp": (D3DP, {"hypotheses": 2, "steps": 2}),
    "diffpose": (DiffPose, {"hypotheses": 2, "steps": 2, "graph": {"width": 16, "layers": 1}}),
}
SCHEDULES = {
    "whole": None,
    "tps": Schedule((13, 9), (0, 1)),
    "tps at the last block": Schedule((13, 9), (1, 2)),
    "tps, one frame left": Schedule((1,), (0,)),
    "tps, tra": Schedule((13, 9), (0, 1), recoverer="tra"),
    "tpc": Schedule((13, 9), (0, 2), "tpc"),
    "tpa, tra": Schedule((9,), (1,), "tpa", "tra"),
    "tpmo": Schedule((14, 4), (0, 1), "tpmo"),
}
ASKED = [slice(26, 27), slice(20, 27), slice(0, 1), slice(0, 27), slice(8, 15)]


@pytest.fixture(params=ARCHITECTURES)
def build(request):
    """Builds a small model of each architecture, every parameter of which matters."""
    cls, config = ARCHITECTURES[request.param]

    def make(schedule=None, **overrides):
        model = cls(**TINY | config | overrides, schedule=schedule).eval()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        if request.param != "d3dp":  # whose state is its noise schedule too
            model.load_state_dict(regenerate(shapes))
        return model

    return make


def windows(model, batch=2):
    return torch.rand((batch, *model.shape), generator=torch.Generator().manual_seed(7)) * 2 - 1


def all_computed(model, x):
    """The answer of the computation as the papers write it down."""
    hourglass = next(part for part in model.modules() if isinstance(part, Hourglass))
    hourglass.frugal = False
    try:
        return model(x)
    finally:
        hourglass.frugal = True


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_poses_asked_for_are_those_of_the_whole_answer(build, schedule):
    model = build(SCHEDULES[schedule])
    x = windows(model)
    with torch.inference_mode():
        whole = all_computed(model, x)
        torch.testing.assert_close(model(x), whole, atol=1e-5, rtol=0)
        for asked in ASKED:
            torch.testing.assert_close(model(x, asked=asked), whole[:, asked], atol=1e-5, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_frames_told_ahead_give_the_same_poses(build, schedule):
    model = build(SCHEDULES[schedule])
    if not getattr(model, "remembers", False):
        pytest.skip("no frame can be told by itself")
    x = windows(model)
    entering = next(part for part in model.modules() if isinstance(part, Hourglass)).entering
    with torch.inference_mode():
        known = torch.stack([model.by_frame(window[entering]) for window in x])
        poses = model(x, asked=slice(20, 27), known=known)
        torch.testing.assert_close(poses, all_computed(model, x)[:, 20:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pruner", ["tps", "tpc", "tpa", "tpmo"])
@pytest.mark.parametrize("recoverer", ["centre", "none"])
def test_the_centre_alone_is_the_centre_of_all(pruner, recoverer):
    for cls, config in (MixSTE, {}), (MHFormer, {"hidden": 16}), (MotionAGFormer, {"rep_width": 16}):
        torch.manual_seed(0)
        model = cls(**TINY, **config, schedule=Schedule((13, 9), (0, 1), pruner, recoverer)).eval()
        x, centre = windows(model), slice(F // 2, F // 2 + 1)
        with torch.inference_mode():
            kept = model.encode(x)[1].expand(2, -1) if recoverer == "none" else None
            whole = all_computed(model, x)
            if whole.shape[1] > 1:
                whole = whole[kept == F // 2][:, None]
            torch.testing.assert_close(model(x, asked=centre), whole, atol=1e-5, rtol=0)


def test_a_frame_that_a_sampler_drops_never_enters():
    torch.manual_seed(0)
    model, seen = MixSTE(**TINY, schedule=Schedule((9,), (0,))).eval(), []
    model.STEblocks[0].register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    with torch.inference_mode():
        model(windows(model, batch=3))
    assert seen == [3 * 9]


def test_the_last_block_answers_for_as_few_tokens_as_the_poses_are_made_of():
    torch.manual_seed(0)
    model, left = MixSTE(**TINY, schedule=Schedule((14, 9), (0, 1))).eval(), []
    model.head.register_forward_hook(lambda _, args, __: left.append(args[0].shape[1]))
    with torch.inference_mode():
        for asked in (slice(26, 27), slice(24, 27), slice(13, 14), None):
            model(windows(model), asked=asked)
    kept = model.hourglass.pruners[-1].places.tolist()
    assert kept == [0, 4, 6, 10, 14, 16, 20, 22, 26]
    assert left == [1, 2, 2, 9]


def test_training_computes_every_token():
    model, left = MixSTE(**TINY, schedule=Schedule((13, 9), (0, 1))).train(), []
    model.head.register_forward_hook(lambda _, args, __: left.append(args[0].shape[1]))
    poses = model(windows(model), asked=slice(26, 27))
    assert (poses.shape[1], left) == (1, [9])


@pytest.mark.parametrize("recoverer", ["centre", "none"])
def test_a_model_for_the_centre_is_asked_for_nothing_else(recoverer):
    model = MixSTE(**TINY, schedule=Schedule((13, 9), (0, 1), recoverer=recoverer)).eval()
    with torch.inference_mode():
        assert model(windows(model), asked=slice(13, 14)).shape == (2, 1, 17, 3)
        with pytest.raises(
            ConfigError, match="row 13 for sure, not of rows 20 to 26; those need recoverer 'tri'"
        ):
            model(windows(model), asked=slice(20, 27))
