"""Released weights of every model, with the authors' names and config."""

import pytest
import torch
from torch import nn

import lifter
from lifter.checkpoints.official import OFFICIAL
from lifter.spec import Schedule
from lifter.weights import digest
from stream.errors import CheckpointError, ConfigError

REFERENCES = {
    "mixste": "mixste_small",
    "hot_mixste": "hot_mixste_small",
    "tpc_mixste": "tpc_mixste_small",
    "mhformer": "mhformer_small_F81",
    "tpc_mhformer": "tpc_mhformer_small",
    "motionbert": "motionbert_small",
    "hot_motionbert": "hot_motionbert_small",
    "motionagformer": "motionagformer_small",
    "hot_motionagformer": "hot_motionagformer_small",
    "d3dp": "d3dp_small",
    "diffpose_gcn": "diffpose_gcn",
}


PRUNED = [arch for arch in REFERENCES if arch.startswith(("hot", "tpc"))]


def test_every_release_has_a_reference():
    assert REFERENCES.keys() | {"diffpose"} == OFFICIAL.keys()


def output(model, inputs):
    names = [name for name in ("x", "x2d", "x3d", "t") if name in inputs]
    with torch.inference_mode():
        return model(*(inputs[name] for name in names))


@pytest.mark.parametrize("name", [*REFERENCES.values(), "mhformer_small_F9"])
def test_references_have_the_weights_that_recipe_regenerates(oracle, name):
    reference = oracle(name)
    counted = sum(v.numel() for k, v in reference["state_dict"].items() if not k.endswith(NOT_TRAINED))
    assert digest(reference["state_dict"]) == reference["sha256"]
    assert counted == reference["n_params"]


NOT_TRAINED = ("running_mean", "running_var", "num_batches_tracked")
WHOLE = [(arch, name) for arch, name in REFERENCES.items() if arch not in PRUNED]


@pytest.mark.parametrize(("arch", "name"), [*WHOLE, ("mhformer", "mhformer_small_F9")])
def test_outputs_equal_those_of_the_release(oracle, arch, name):
    reference = oracle(name)
    model = lifter.from_official(arch, reference["state_dict"], **reference["config"])
    poses = output(model, reference["inputs"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)
    assert not model.training


class FixedPruner(nn.Module):
    """A pruner with a fixed result, which records the pooled tokens before it."""

    def __init__(self, index):
        super().__init__()
        self.index = index

    def forward(self, state):
        self.pooled = state.tokens.mean(dim=2)
        return self.index


@pytest.mark.parametrize("run", ["outputs", "seed4321"])
@pytest.mark.parametrize("arch", PRUNED)
def test_the_frames_kept_by_the_release_give_its_poses(oracle, arch, run):
    """The selection itself depends on the last digits of near ties."""
    reference = oracle(REFERENCES[arch])
    model = lifter.from_official(arch, reference["state_dict"], **reference["config"])
    model.hourglass.pruners[0] = pruner = FixedPruner(reference[run]["kept_index"])
    poses = output(model, reference["inputs"])
    torch.testing.assert_close(poses, reference[run]["output"], atol=1e-5, rtol=0)
    torch.testing.assert_close(pruner.pooled, reference["cluster"]["x_knn"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", PRUNED)
def test_without_noise_the_same_input_gives_the_same_bits(oracle, arch):
    reference = oracle(REFERENCES[arch])
    model = lifter.from_official(arch, reference["state_dict"], **reference["config"])
    assert torch.equal(output(model, reference["inputs"]), output(model, reference["inputs"]))


@pytest.mark.parametrize(
    ("arch", "wrap"),
    [
        ("mixste", lambda s: {"epoch": 7, "model_pos": {f"module.{k}": v for k, v in s.items()}, "lr": 1e-4}),
        ("motionbert", lambda s: {"model_pos": {f"module.{k}": v for k, v in s.items()}}),
        ("motionagformer", lambda s: {"model": {f"module.{k}": v for k, v in s.items()}, "best": 38.4}),
        ("d3dp", lambda s: {"model_pos": d3dp(s)}),
        ("diffpose_gcn", lambda s: [{f"module.{k}": v for k, v in s.items()}, {"betas": 1}]),
        ("mhformer", lambda s: s),
    ],
)
def test_checkpoints_load_in_the_form_they_are_released(oracle, arch, wrap):
    reference = oracle(REFERENCES[arch])
    model = lifter.from_official(arch, wrap(reference["state_dict"]), **reference["config"])
    poses = output(model, reference["inputs"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)


def d3dp(state):
    buffers = lifter.weights.import_object("lifter.architectures.d3dp:schedule_buffers")(1000)
    assert len(buffers) == 12
    prefixed = {f"module.pose_estimator.{key}": value for key, value in state.items()}
    return prefixed | {f"module.{key}": value for key, value in buffers.items()}


def test_released_weights_can_be_pruned(oracle):
    reference = oracle("mixste_small")
    model = lifter.from_official(
        "mixste", reference["state_dict"], schedule=Schedule((13, 9), (0, 3)), **reference["config"]
    )
    expected = reference["h2ot"]["variants"]["round"]["tri_at_index"]
    torch.testing.assert_close(output(model, reference["inputs"]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", REFERENCES)
def test_missing_or_unexpected_keys_raise(oracle, arch):
    reference = oracle(REFERENCES[arch])
    state, config = reference["state_dict"], reference["config"]
    last = list(state)[-1]
    with pytest.raises(CheckpointError, match=rf"{arch} checkpoint: .*is missing"):
        lifter.from_official(arch, {k: v for k, v in state.items() if k != last}, **config)
    with pytest.raises(CheckpointError, match=r"surplus \(2,\) is unexpected"):
        lifter.from_official(arch, state | {"surplus": torch.ones(2)}, **config)


@pytest.mark.parametrize("arch", REFERENCES)
@pytest.mark.parametrize("other", REFERENCES)
def test_weights_of_another_release_raise(oracle, arch, other):
    """Except those that differ by TPC alone, which adds no weights."""
    if arch.removeprefix("tpc_") == other.removeprefix("tpc_"):
        return
    with pytest.raises(CheckpointError, match=f"{arch} checkpoint: expected weights of"):
        lifter.from_official(
            arch, oracle(REFERENCES[other])["state_dict"], **oracle(REFERENCES[arch])["config"]
        )


def test_weights_with_nan_raise(oracle):
    reference = oracle("mixste_small")
    state = reference["state_dict"] | {"head.1.bias": torch.tensor([0.0, float("nan"), 0.0])}
    with pytest.raises(CheckpointError, match=r"got NaN or infinity in head\.1\.bias"):
        lifter.from_official("mixste", state, **reference["config"])


def test_another_window_length_raises(oracle):
    reference = oracle("mixste_small")
    with pytest.raises(
        CheckpointError, match=r"Temporal_pos_embed should be \(1, 81, 64\) and is \(1, 27, 64\)"
    ):
        lifter.from_official("mixste", reference["state_dict"], **reference["config"] | {"frames": 81})


@pytest.mark.parametrize(
    "checkpoint", [None, 3, [], {"model_pos": 3}, {"a": "b"}, [1, 2], {0: torch.ones(2)}]
)
def test_values_that_are_no_state_dict_raise(checkpoint):
    with pytest.raises(CheckpointError, match="expected names and tensors"):
        lifter.from_official("mixste", checkpoint)


@pytest.mark.parametrize(
    ("arch", "config", "complaint"),
    [
        ("mixtse", {}, "arch: expected one of mixste, hot_mixste"),
        ("mixste", {"chanel": 64}, "settings among frames, channel, .*got 'chanel'"),
        ("mixste", {"token_num": 81}, "got 'token_num'"),
        ("motionagformer", {"num_heads": 8}, "expected a value for neighbour_num"),
        ("hot_motionagformer", {}, "expected a value for num_heads"),
        ("motionbert", {"norm_eps": 1e-5}, "norm_eps 1e-6"),
        ("diffpose_gcn", {"coords": [5, 3]}, "as many coords in as out"),
        ("diffpose_gcn", {"coords": 5}, "as many coords in as out, such as .*got 5"),
        (
            "diffpose_gcn",
            {"schedule": Schedule()},
            "expected none, since diffpose_gcn has the pruning of its release or none",
        ),
        (
            "hot_mixste",
            {"schedule": Schedule()},
            "expected none, since hot_mixste has the pruning of its release",
        ),
        ("mixste", {"schedule": {"keep": [81]}}, "expected a lifter.Schedule, got {"),
        ("mixste", {"channel": "64"}, r"mixste does not accept \{'channel': '64'\}"),
        ("mixste", {"heads": 7}, "a divisor of the width 512, got 7"),
        ("mixste", {"depth": 0}, "at least one frame and one block"),
        ("hot_motionbert", {"mlp_hidden": "x"}, "hot_motionbert does not accept"),
    ],
)
def test_invalid_settings_of_a_release_raise(arch, config, complaint):
    with pytest.raises(ConfigError, match=complaint):
        lifter.from_official(arch, {}, **config)
