"""Skipping tokens that no requested pose depends on does not change the poses."""

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
    "unpruned": None,
    "tps": Schedule((13, 9), (0, 1)),
    "tps at the last block": Schedule((13, 9), (1, 2)),
    "tps, one frame": Schedule((1,), (0,)),
    "tps, tra": Schedule((13, 9), (0, 1), recoverer="tra"),
    "tpc": Schedule((13, 9), (0, 2), "tpc"),
    "tpa, tra": Schedule((9,), (1,), "tpa", "tra"),
    "tpmo": Schedule((14, 4), (0, 1), "tpmo"),
}
ROWS = [slice(26, 27), slice(20, 27), slice(0, 1), slice(0, 27), slice(8, 15)]


@pytest.fixture(params=ARCHITECTURES)
def build(request):
    """Builds a small model of each architecture, with weights of which every parameter matters."""
    cls, config = ARCHITECTURES[request.param]

    def make(schedule=None, **overrides):
        model = cls(**TINY | config | overrides, schedule=schedule).eval()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        if request.param != "d3dp":  # its state includes the noise schedule
            model.load_state_dict(regenerate(shapes))
        return model

    return make


def windows(model, batch=2):
    return torch.rand((batch, *model.shape), generator=torch.Generator().manual_seed(7)) * 2 - 1


def all_computed(model, x):
    """The poses when every token is computed, as in the papers."""
    hourglass = next(part for part in model.modules() if isinstance(part, Hourglass))
    hourglass.skip_unneeded = False
    try:
        return model(x)
    finally:
        hourglass.skip_unneeded = True


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_requested_rows_equal_the_same_rows_of_all_poses(build, schedule):
    model = build(SCHEDULES[schedule])
    x = windows(model)
    with torch.inference_mode():
        expected = all_computed(model, x)
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=0)
        for rows in ROWS:
            torch.testing.assert_close(model(x, rows=rows), expected[:, rows], atol=1e-5, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_cached_frames_give_the_same_poses(build, schedule):
    model = build(SCHEDULES[schedule])
    if not model.supports_frame_cache:
        pytest.skip("cannot encode single frames")
    x = windows(model)
    frames = next(part for part in model.modules() if isinstance(part, Hourglass)).input_frames
    with torch.inference_mode():
        cached = torch.stack([model.encode_frames(window[frames]) for window in x])
        poses = model(x, rows=slice(20, 27), cached=cached)
        torch.testing.assert_close(poses, all_computed(model, x)[:, 20:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pruner", ["tps", "tpc", "tpa", "tpmo"])
@pytest.mark.parametrize("recoverer", ["centre", "none"])
def test_the_centre_frame_alone_equals_the_centre_of_all_poses(pruner, recoverer):
    for cls, config in (MixSTE, {}), (MHFormer, {"hidden": 16}), (MotionAGFormer, {"rep_width": 16}):
        torch.manual_seed(0)
        model = cls(**TINY, **config, schedule=Schedule((13, 9), (0, 1), pruner, recoverer)).eval()
        x, centre = windows(model), slice(F // 2, F // 2 + 1)
        with torch.inference_mode():
            kept = model.encode(x)[1].expand(2, -1) if recoverer == "none" else None
            expected = all_computed(model, x)
            if expected.shape[1] > 1:
                expected = expected[kept == F // 2][:, None]
            torch.testing.assert_close(model(x, rows=centre), expected, atol=1e-5, rtol=0)


def test_frames_that_a_sampler_drops_are_never_encoded():
    torch.manual_seed(0)
    model, tokens = MixSTE(**TINY, schedule=Schedule((9,), (0,))).eval(), []
    model.STEblocks[0].register_forward_hook(lambda _, args, __: tokens.append(len(args[0])))
    with torch.inference_mode():
        model(windows(model, batch=3))
    assert tokens == [3 * 9]


def test_the_last_block_computes_only_the_tokens_of_the_requested_rows():
    torch.manual_seed(0)
    model, tokens = MixSTE(**TINY, schedule=Schedule((14, 9), (0, 1))).eval(), []
    model.head.register_forward_hook(lambda _, args, __: tokens.append(args[0].shape[1]))
    with torch.inference_mode():
        for rows in (slice(26, 27), slice(24, 27), slice(13, 14), None):
            model(windows(model), rows=rows)
    kept = model.hourglass.pruners[-1].fixed_frames.tolist()
    assert kept == [0, 4, 6, 10, 14, 16, 20, 22, 26]
    assert tokens == [1, 2, 2, 9]


def test_training_computes_every_token():
    model, tokens = MixSTE(**TINY, schedule=Schedule((13, 9), (0, 1))).train(), []
    model.head.register_forward_hook(lambda _, args, __: tokens.append(args[0].shape[1]))
    poses = model(windows(model), rows=slice(26, 27))
    assert (poses.shape[1], tokens) == (1, [9])


@pytest.mark.parametrize("recoverer", ["centre", "none"])
def test_a_model_for_the_centre_frame_rejects_other_rows(recoverer):
    model = MixSTE(**TINY, schedule=Schedule((13, 9), (0, 1), recoverer=recoverer)).eval()
    with torch.inference_mode():
        assert model(windows(model), rows=slice(13, 14)).shape == (2, 1, 17, 3)
        with pytest.raises(
            ConfigError, match=r"expected row 13, .* got rows 20 to 26; other rows need recoverer 'tri'"
        ):
            model(windows(model), rows=slice(20, 27))
