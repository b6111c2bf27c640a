"""Properties of every architecture with every pruner and recoverer."""

import pytest
import torch

from lifter.architectures.mhformer import MHFormer
from lifter.architectures.mixste import MixSTE
from lifter.architectures.motionagformer import MotionAGFormer
from lifter.architectures.motionbert import MotionBERT
from lifter.spec import Schedule
from stream.errors import ConfigError, ShapeError
from tests.lifter.recipe import regenerate

F = 27
ARCHITECTURES = {
    "mixste": (MixSTE, {"frames": F, "width": 16, "depth": 4, "heads": 2}),
    "mhformer": (MHFormer, {"frames": F, "width": 16, "hidden": 16, "heads": 2, "output": "sequence"}),
    "motionbert": (MotionBERT, {"frames": F, "width": 16, "depth": 3, "heads": 2, "rep_width": 16}),
    "motionagformer": (MotionAGFormer, {"frames": F, "width": 16, "depth": 3, "heads": 2, "rep_width": 16}),
}
PRUNERS = ("tps", "tpc", "tpa", "tpmo")


@pytest.fixture(params=ARCHITECTURES)
def build(request):
    """Builds a small model of each architecture, with weights of which every parameter matters."""
    cls, config = ARCHITECTURES[request.param]

    def make(schedule=None, **overrides):
        model = cls(**config | overrides, schedule=schedule)
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict(regenerate(shapes))
        return model.eval()

    return make


def window(model, batch=2):
    return torch.rand((batch, *model.shape), generator=torch.Generator().manual_seed(7)) * 2 - 1


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize(("recoverer", "frames"), [("tri", F), ("tra", F), ("none", 9), ("centre", 1)])
def test_every_pruner_works_with_every_recoverer_and_is_deterministic(build, pruner, recoverer, frames):
    model = build(Schedule(keep=(13, 9), at=(0, 2), pruner=pruner, recoverer=recoverer))
    x = window(model)
    with torch.inference_mode():
        poses = model(x)
        assert torch.equal(poses, model(x))
    assert poses.shape == (2, frames, 17, 3)
    assert poses.isfinite().all()


@pytest.mark.parametrize("pruner", PRUNERS)
def test_pruned_frames_are_sorted_and_contain_the_centre_for_seq2frame(build, pruner):
    model = build(Schedule(keep=(14, 8), at=(0, 2), pruner=pruner, recoverer="none"))
    with torch.inference_mode():
        _, kept = model.encode(window(model))
    kept = kept.expand(2, 8)
    assert (kept.diff(dim=1) > 0).all()
    assert (kept == F // 2).any(dim=1).all()


@pytest.mark.parametrize("pruner", ["tpc", "tpa", "tpmo"])
def test_a_window_gets_the_same_poses_alone_and_in_a_batch(build, pruner):
    model = build(Schedule(keep=(9,), at=(1,), pruner=pruner))
    x = window(model, batch=3)
    with torch.inference_mode():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), atol=1e-5, rtol=0)


def test_attention_received_sums_to_the_number_of_queries(build):
    model = build(Schedule(keep=(9,), at=(2,), pruner="tpa", recoverer="none"))
    x, scores = window(model), []
    prune = model.hourglass.prune

    def recording(block, tokens, frame_indices, x, attention):
        scores.append(attention(tokens))
        return prune(block, tokens, frame_indices, x, attention)

    model.hourglass.prune = recording
    with torch.inference_mode():
        model(x)
    received = torch.stack(scores[:3])  # (3, B, F), nothing pruned yet
    # Each of the F queries distributes attention 1.
    torch.testing.assert_close(received.sum(dim=-1), torch.full((3, 2), float(F)), atol=1e-3, rtol=0)


def test_all_parameters_get_gradients(build):
    model = build(Schedule(keep=(13, 9), at=(0, 1), recoverer="tra")).train()
    model(window(model)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_pruned_models_compile_to_one_graph(build):
    model = build(Schedule(keep=(13, 9), at=(0, 1)))
    x = window(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), model(x), atol=1e-5, rtol=0)


def test_pruned_models_export_with_any_batch(build):
    model = build(Schedule(keep=(13, 9), at=(0, 1)))
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    exported = torch.export.export(model, (window(model),), dynamic_shapes=(batch,)).module()
    x = window(model, batch=5)
    with torch.inference_mode():
        torch.testing.assert_close(exported(x), model(x), atol=1e-5, rtol=0)


def test_windows_of_another_shape_raise(build):
    model = build()
    frames, joints, channels = model.shape
    for shape in [(frames, joints, channels), (1, frames - 1, joints, channels), (1, frames, 16, channels)]:
        with pytest.raises(ShapeError, match=rf"\(B, {frames}, {joints}, {channels}\), got \({shape[0]},"):
            model(torch.zeros(shape))


def test_an_empty_batch_raises(build):
    for pruner in PRUNERS:
        with pytest.raises(ShapeError, match=r"one or more windows .*, got \(0, 27, 17, "):
            build(Schedule(keep=(13, 9), at=(0, 1), pruner=pruner))(window(build(), batch=0))


def test_input_of_another_dtype_raises(build):
    model = build()
    for dtype in (torch.float64, torch.float16, torch.int64):
        with pytest.raises(ShapeError, match=f"expected torch.float32 like its weights, got {dtype}"):
            model(window(model).to(dtype))
    with pytest.raises(ShapeError, match=r"got <class 'numpy\.ndarray'>"):
        model(window(model).numpy())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # autocast converts the input
        assert model(window(model)).isfinite().all()
        assert model(window(model).bfloat16()).isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_windows_with_nan_raise(build, value):
    model = build()
    x = window(model)
    x[1, 3, 5, 0] = value
    with pytest.raises(ShapeError, match="expected finite input, got NaN or infinity"):
        model(x)


def test_heads_that_do_not_divide_the_width_raise(build):
    with pytest.raises(ConfigError, match="heads: expected a divisor of the width 16, got 5"):
        build(heads=5)
    with pytest.raises(ConfigError, match="heads: expected a divisor of the width 16, got 0"):
        build(heads=0)


def test_a_schedule_that_does_not_fit_raises(build):
    with pytest.raises(ConfigError, match="at most 27 frames"):
        build(Schedule(keep=(28,), at=(0,)))
    with pytest.raises(ConfigError, match="below"):
        build(Schedule(keep=(9,), at=(16,)))
