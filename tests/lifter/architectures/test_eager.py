"""Every model against its float64 implementation, with sizes, seeds and schedules beyond the references."""

import pytest
import torch

import lifter
from lifter.checkpoints.official import settings_of
from lifter.h2ot.prune import uniform
from lifter.spec import Schedule
from lifter.weights import ARCHS, import_object
from tests.lifter import eager
from tests.lifter.recipe import regenerate

# Names of sizes as the authors have them; MHFormer's last stage sits before its last block.
MODELS = {
    "mixste": ({"frames": 45, "channel": 48, "depth": 4, "heads": 4, "mlp_ratio": 3}, {"heads": 4}),
    "motionbert": ({"maxlen": 45, "dim_feat": 48, "depth": 3, "dim_rep": 40, "heads": 4}, {"heads": 4}),
    "motionagformer": (
        {"n_frames": 45, "dim_feat": 48, "n_layers": 3, "dim_rep": 40, "num_heads": 4, "neighbour_num": 3},
        {"heads": 4, "neighbours": 3},
    ),
    "mhformer": ({"frames": 45, "channel": 48, "d_hid": 80, "layers": 4, "heads_shr": 4}, {"heads": 4}),
}


def difference(arch, sizes, settings, stages, seed):
    """Largest difference between the poses of both implementations, for random weights and input."""
    schedule = Schedule(tuple(stages.values()), tuple(stages)) if stages else None
    fresh = import_object(ARCHS[arch])(**settings_of(arch, schedule, sizes)[1])
    state = regenerate({key: tuple(value.shape) for key, value in fresh.state_dict().items()}, seed)
    model = lifter.from_official(arch, state, schedule, **sizes)
    x = torch.rand((2, *model.shape), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    frames, kept = list(range(model.shape[0])), {}
    for block, keep in stages.items():
        kept[block] = uniform(len(frames), keep).tolist()
        frames = [frames[i] for i in kept[block]]
    with torch.inference_mode():
        poses = getattr(eager, arch)(eager.Weights(state), x.double(), kept, **settings)
        return (model(x) - eager.interpolated(poses, frames, model.shape[0])).abs().max().item()


@pytest.mark.parametrize("stages", [{}, {2: 20}, {0: 31, 1: 14, 2: 6}], ids=str)
@pytest.mark.parametrize("arch", MODELS)
def test_a_model_equals_its_float64_implementation(arch, stages):
    sizes, settings = MODELS[arch]
    if arch == "mhformer" and len(stages) > 1:
        stages = dict(zip((0, 1, 3), stages.values(), strict=True))  # the last stage is before the last block
    assert difference(arch, sizes, settings, stages, seed=5) < 1e-5


def test_mhformer_for_short_windows_equals_its_float64_implementation():
    sizes, settings = MODELS["mhformer"]
    assert difference("mhformer", sizes | {"frames": 27}, settings, {0: 13, 3: 9}, seed=6) < 1e-5
