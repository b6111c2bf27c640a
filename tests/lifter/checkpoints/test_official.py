"""Released weights of every model, loaded under the authors' names."""

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


def answer(model, inputs):
    names = [name for name in ("x", "x2d", "x3d", "t") if name in inputs]
    with torch.inference_mode():
        return model(*(inputs[name] for name in names))


@pytest.mark.parametrize("name", [*REFERENCES.values(), "mhformer_small_F9"])
def test_references_are_of_the_weights_drawn_here(oracle, name):
    reference = oracle(name)
    counted = sum(v.numel() for k, v in reference["state_dict"].items() if not k.endswith(NOT_TRAINED))
    assert digest(reference["state_dict"]) == reference["sha256"]
    assert counted == reference["n_params"]


NOT_TRAINED = ("running_mean", "running_var", "num_batches_tracked")
WHOLE = [(arch, name) for arch, name in REFERENCES.items() if arch not in PRUNED]


@pytest.mark.parametrize(("arch", "name"), [*WHOLE, ("mhformer", "mhformer_small_F9")])
def test_outputs_are_those_of_the_release(oracle, arch, name):
    reference = oracle(name)
    model = lifter.from_official(arch, reference["state_dict"], **reference["config"])
    poses = answer(model, reference["inputs"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)
    assert not model.training


class Given(nn.Module):
    """A pruner that keeps the frames it was told; so the rest of a model can be tested apart from it."""

    def __init__(self, index):
        super().__init__()
        self.index = index

    def forward(self, clues):
        self.pooled = clues.tokens.mean(dim=2)
        return self.index


@pytest.mark.parametrize("run", ["outputs", "seed4321"])
@pytest.mark.parametrize("arch", PRUNED)
def test_frames_kept_by_the_release_give_its_poses(oracle, arch, run):
    """Apart from the choice, which hangs on the last digits of near ties."""
    reference = oracle(REFERENCES[arch])
    model = lifter.from_official(arch, reference["state_dict"], **reference["config"])
    model.hourglass.pruners[0] = given = Given(reference[run]["kept_index"])
    poses = answer(model, reference["inputs"])
    torch.testing.assert_close(poses, reference[run]["output"], atol=1e-5, rtol=0)
    torch.testing.assert_close(given.pooled, reference["cluster"]["x_knn"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", PRUNED)
def test_without_noise_the_same_input_gives_the_same_bits(oracle, arch):
    reference = oracle(REFERENCES[arch])
    model = lifter.from_official(arch, reference["state_dict"], **reference["config"])
    assert torch.equal(answer(model, reference["inputs"]), answer(model, reference["inputs"]))


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
def test_checkpoints_load_as_they_are_released(oracle, arch, wrap):
    reference = oracle(REFERENCES[arch])
    model = lifter.from_official(arch, wrap(reference["state_dict"]), **reference["config"])
    poses = answer(model, reference["inputs"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)


def d3dp(state):
    buffers = lifter.weights.imported("lifter.architectures.d3dp:schedule_buffers")(1000)
    assert len(buffers) == 12
    prefixed = {f"module.pose_estimator.{key}": value for key, value in state.items()}
    return prefixed | {f"module.{key}": value for key, value in buffers.items()}


def test_released_weights_can_be_pruned(oracle):
    reference = oracle("mixste_small")
    model = lifter.from_official(
        "mixste", reference["state_dict"], schedule=Schedule((13, 9), (0, 3)), **reference["config"]
    )
    expected = reference["h2ot"]["variants"]["round"]["tri_at_index"]
    torch.testing.assert_close(answer(model, reference["inputs"]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", REFERENCES)
def test_keys_that_are_missing_or_left_over_are_refused(oracle, arch):
    reference = oracle(REFERENCES[arch])
    state, config = reference["state_dict"], reference["config"]
    last = list(state)[-1]
    with pytest.raises(CheckpointError, match=rf"{arch} checkpoint: .*is missing"):
        lifter.from_official(arch, {k: v for k, v in state.items() if k != last}, **config)
    with pytest.raises(CheckpointError, match=r"surplus \(2,\) is left over"):
        lifter.from_official(arch, state | {"surplus": torch.ones(2)}, **config)


@pytest.mark.parametrize("arch", REFERENCES)
@pytest.mark.parametrize("other", REFERENCES)
def test_weights_of_another_release_are_refused(oracle, arch, other):
    """But for the pruning by TPC, which leaves no trace in them."""
    if arch.removeprefix("tpc_") == other.removeprefix("tpc_"):
        return
    with pytest.raises(CheckpointError, match=f"{arch} checkpoint: expected weights of"):
        lifter.from_official(
            arch, oracle(REFERENCES[other])["state_dict"], **oracle(REFERENCES[arch])["config"]
        )


def test_weights_with_a_hole_are_refused(oracle):
    reference = oracle("mixste_small")
    state = reference["state_dict"] | {"head.1.bias": torch.tensor([0.0, float("nan"), 0.0])}
    with pytest.raises(CheckpointError, match=r"head\.1\.bias holds NaN or infinity"):
        lifter.from_official("mixste", state, **reference["config"])


def test_a_wrong_window_is_refused(oracle):
    reference = oracle("mixste_small")
    with pytest.raises(
        CheckpointError, match=r"Temporal_pos_embed should be \(1, 81, 64\) and is \(1, 27, 64\)"
    ):
        lifter.from_official("mixste", reference["state_dict"], **reference["config"] | {"frames": 81})


@pytest.mark.parametrize("thing", [None, 3, [], {"model_pos": 3}, {"a": "b"}, [1, 2], {0: torch.ones(2)}])
def test_what_is_no_state_dict_is_refused(thing):
    with pytest.raises(CheckpointError, match="expected names and tensors"):
        lifter.from_official("mixste", thing)


@pytest.mark.parametrize(
    ("arch", "config", "complaint"),
    [
        ("mixtse", {}, "arch: expected one of mixste, hot_mixste"),
        ("mixste", {"chanel": 64}, "settings among frames, channel, .*got 'chanel'"),
        ("mixste", {"token_num": 81}, "got 'token_num'"),
        ("motionagformer", {"num_heads": 8}, "expected neighbour_num to be given"),
        ("hot_motionagformer", {}, "expected num_heads to be given"),
        ("motionbert", {"norm_eps": 1e-5}, "norm_eps 1e-6"),
        ("diffpose_gcn", {"coords": [5, 3]}, "as many coords in as out"),
        ("diffpose_gcn", {"coords": 5}, "as many coords in as out, such as .*got 5"),
        ("diffpose_gcn", {"schedule": Schedule()}, "diffpose_gcn prunes as it was released or not at all"),
        ("hot_mixste", {"schedule": Schedule()}, "hot_mixste prunes as it was released"),
        ("mixste", {"schedule": {"keep": [81]}}, "expected a lifter.Schedule, got {"),
        ("mixste", {"channel": "64"}, r"mixste does not take \{'channel': '64'\}"),
        ("mixste", {"heads": 7}, "a divisor of the width 512, got 7"),
        ("mixste", {"depth": 0}, "at least one frame and one block"),
        ("hot_motionbert", {"mlp_hidden": "x"}, "hot_motionbert does not take"),
    ],
)
def test_settings_a_release_does_not_have_are_refused(arch, config, complaint):
    with pytest.raises(ConfigError, match=complaint):
        lifter.from_official(arch, {}, **config)
