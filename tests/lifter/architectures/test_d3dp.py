"""D3DP against reference outputs: one pass of the denoiser, and a whole sampling run with its noise."""

from pathlib import Path

import pytest
import torch

import lifter
from lifter.architectures.d3dp import D3DP
from lifter.paper.flops import count_model
from lifter.spec import Schedule
from stream.errors import CheckpointError, ConfigError, ShapeError

SMALL = {"frames": 27, "width": 64, "depth": 8, "heads": 8}
TINY = {"frames": 9, "width": 16, "depth": 2, "heads": 2}
DDIM = Path(__file__).parents[1] / "oracle" / "d3dp_ddim_small.pt"


@pytest.fixture(scope="module")
def run():
    """A recorded sampling run: x2d, noises, output and the schedule's buffers."""
    return torch.load(DDIM, weights_only=True)


@pytest.fixture(scope="module")
def trained(oracle, run):
    """Builds a model with the reference weights."""
    weights = {f"pose_estimator.{key}": value for key, value in oracle("d3dp_small")["state_dict"].items()}

    def build(**settings):
        model = D3DP(**SMALL, **settings).eval()
        model.load_state_dict(weights | run["buffers"], strict=True)
        return model

    return build


def test_one_pass_of_the_denoiser_matches_the_reference(oracle, trained):
    reference, model = oracle("d3dp_small"), trained()
    x = reference["inputs"]
    with torch.inference_mode():
        poses = model(x["x2d"], x["x3d"], x["t"])
        hypotheses = model(x["x2d"], x["x3d_hyp"], x["t_hyp"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)
    torch.testing.assert_close(hypotheses, reference["outputs"]["output_hyp"], atol=1e-5, rtol=0)


def test_a_sampling_run_matches_the_recorded_one_at_every_step(run, trained):
    with torch.inference_mode():
        hypotheses = trained().sample(run["x2d"], torch.stack(run["noises"]))
    torch.testing.assert_close(hypotheses, run["output"], atol=1e-5, rtol=0)


def test_buffers_of_the_noise_schedule_equal_the_released_ones(run):
    buffers = {name: value for name, value in D3DP(**TINY).state_dict().items() if "." not in name}
    assert buffers.keys() == run["buffers"].keys()
    for name in buffers:  # cosine and square root differ in the last bit between processors
        torch.testing.assert_close(buffers[name], run["buffers"][name], rtol=2e-6, atol=1e-7)


def test_the_released_checkpoint_and_its_denoiser_alone_load_the_same_model(oracle, run):
    reference = oracle("d3dp_small")
    weights = {f"module.pose_estimator.{key}": value for key, value in reference["state_dict"].items()}
    constants = {f"module.{key}": value for key, value in run["buffers"].items()}
    checkpoint = {"epoch": 1, "model_pos": weights | constants}
    x, expected = reference["inputs"], reference["outputs"]["output"]
    for state in (checkpoint, reference["state_dict"]):
        model = lifter.from_official("d3dp", state, **reference["config"])
        with torch.inference_mode():
            poses = model(x["x2d"], x["x3d"], x["t"])
        torch.testing.assert_close(poses, expected, atol=1e-5, rtol=0)


def test_a_checkpoint_of_another_noise_schedule_raises(oracle, run):
    reference = oracle("d3dp_small")
    weights = {f"pose_estimator.{key}": value for key, value in reference["state_dict"].items()}
    linear = weights | run["buffers"] | {"betas": torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)}
    with pytest.raises(CheckpointError, match="expected betas of the cosine noise schedule"):
        lifter.from_official("d3dp", linear, **reference["config"])
    shorter = {**weights, **{name: value[:500] for name, value in run["buffers"].items()}}
    with pytest.raises(CheckpointError, match=r"betas should be \(1000,\) and is \(500,\)"):
        lifter.from_official("d3dp", shorter, **reference["config"])


def test_poses_are_the_mean_of_the_last_step_and_deterministic_in_any_batch(run, trained):
    model, x = trained(hypotheses=3, steps=2), run["x2d"]
    with torch.inference_mode():
        both, again, alone = model(x), model(x), model(x[1:])
        hypotheses = model.sample(x)
    assert hypotheses.shape == (2, 2, 3, 27, 17, 3)
    assert torch.equal(both, again)
    torch.testing.assert_close(both[1:], alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(both, hypotheses[:, -1].mean(dim=1), atol=0, rtol=0)
    assert not torch.allclose(hypotheses[:, -1, 0], hypotheses[:, -1, 1], atol=1e-3)


def test_with_flip_a_mirrored_person_is_lifted_to_the_mirrored_pose():
    model = D3DP(**TINY, steps=1, hypotheses=1).eval()
    x = torch.rand(1, 9, 17, 2) * 2 - 1
    noise = torch.randn(1, 1, 1, 9, 17, 3)
    with torch.inference_mode():
        direct = model.sample(x, noise)
        mirrored = model.sample(model.mirror(x), model.mirror(noise))
    torch.testing.assert_close(model.mirror(mirrored), direct, atol=1e-5, rtol=0)


def test_training_recovers_one_pose_sequence():
    torch.manual_seed(0)
    model = D3DP(**TINY, schedule=Schedule(keep=(5, 3), at=(0, 1)), drop_path=0.1).train()
    keypoints, poses = torch.rand(4, 9, 17, 2), torch.rand(4, 1, 17, 3).expand(4, 9, 17, 3) * 0.5
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        noisy, level, target = model.corrupt(keypoints, poses, generator)
        loss = model.loss(model(keypoints, noisy, level), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_corruption_follows_the_forward_process():
    model = D3DP(**TINY)
    poses = torch.rand(64, 9, 17, 3) - 0.5
    noisy, level, target = model.corrupt(poses[..., :2], poses, torch.Generator().manual_seed(1))
    again, _, _ = model.corrupt(poses[..., :2], poses, torch.Generator().manual_seed(1))
    assert torch.equal(noisy, again)
    assert target is poses
    assert noisy.abs().max() <= torch.tensor(1.1)
    step = torch.arange(1001, dtype=torch.float64) / 1000  # the cosine schedule, by hand
    signal = torch.cos((step + 0.008) / 1.008 * torch.pi / 2).square()
    kept = torch.cumprod(1 - (1 - signal[1:] / signal[:-1]).clamp(0, 0.999), dim=0)[level][
        :, None, None, None
    ]
    noise = (noisy.double() - kept.sqrt() * poses) / (1 - kept).sqrt()
    unclamped = (noisy.abs() < 1.1) & (kept < 0.9)
    assert noise[unclamped].std() == pytest.approx(0.8, abs=0.15)
    generator = torch.Generator().manual_seed(1)
    torch.randint(1000, (64,), generator=generator)
    drawn = torch.randn(poses.shape, generator=generator)
    torch.testing.assert_close(noise[unclamped].float(), drawn[unclamped], atol=1e-3, rtol=1e-3)
    quiet, loud = level < 50, level > 950
    assert (noisy - poses)[quiet].abs().mean() < 0.1 < 0.5 < (noisy - poses)[loud].abs().mean()


@pytest.mark.parametrize("schedule", [None, Schedule(keep=(5, 3), at=(0, 1))])
def test_sampling_and_training_passes_export_with_any_batch(schedule):
    model = D3DP(**TINY, schedule=schedule, hypotheses=2, steps=2).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}

    def arguments(size):
        return torch.rand(size, 9, 17, 2), torch.rand(size, 9, 17, 3), torch.arange(size) * 300

    for count in (1, 3):
        exported = torch.export.export(model, arguments(2)[:count], dynamic_shapes=(batch,) * count)
        inputs = arguments(3)[:count]
        with torch.inference_mode():
            torch.testing.assert_close(exported.module()(*inputs), model(*inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("schedule", "gflops"), [(None, 277.26), (Schedule(), 118.25)])
def test_one_pass_of_the_full_denoiser_has_the_flops_of_the_paper(schedule, gflops):
    model = D3DP(schedule=schedule, hypotheses=1, steps=1).to("meta")
    keypoints, noisy = (torch.zeros(1, 243, 17, channels, device="meta") for channels in (2, 3))
    total = count_model(model, keypoints, noisy, torch.zeros(1, device="meta"))[0]
    assert round(total.parameters / 1e6, 2) == 34.84
    assert round(total.paper_flops / 1e9, 2) == gflops


def test_it_builds_on_the_meta_device():
    with torch.device("meta"):
        model = D3DP(**TINY, schedule=Schedule(keep=(5, 3), at=(0, 1)))
    assert model.to("meta").sample(torch.zeros(1, 9, 17, 2, device="meta")).shape == (1, 5, 5, 9, 17, 3)


@pytest.mark.parametrize("pruner", ["tps", "tpc", "tpa", "tpmo"])
def test_sampling_compiles_to_one_graph_with_every_pruner(pruner):
    model = D3DP(**TINY, schedule=Schedule(keep=(5, 3), at=(0, 1), pruner=pruner), steps=2).eval()
    x = torch.rand(2, 9, 17, 2)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), model(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("noisy", [(1, 9, 16, 3), (1, 9, 17, 2), (2, 9, 17, 3), (9, 17, 3)])
def test_noisy_poses_of_another_shape_raise(noisy):
    with pytest.raises(ShapeError, match=r"noisy poses \(B, H, F, J, 3\) = \(1, H, 9, 17, 3\)"):
        D3DP(**TINY)(torch.zeros(1, 9, 17, 2), torch.zeros(noisy), torch.tensor([3]))


def test_noisy_poses_need_a_level_per_window():
    keypoints, noisy = torch.zeros(1, 9, 17, 2), torch.zeros(1, 9, 17, 3)
    with pytest.raises(ShapeError, match=r"levels \(1,\), got .* and \(2,\)"):
        D3DP(**TINY)(keypoints, noisy, torch.tensor([3, 4]))
    with pytest.raises(ShapeError, match="together, got only one of them"):
        D3DP(**TINY)(keypoints, noisy)


def test_inputs_and_settings_that_do_not_fit_raise():
    with pytest.raises(ShapeError, match="9, 17, 2"):
        D3DP(**TINY)(torch.zeros(1, 8, 17, 2))
    with pytest.raises(ShapeError, match=r"\(5, 1, H, 9, 17, 3\), one per step, got \(4, 1, 5, 9, 17, 3\)"):
        D3DP(**TINY).sample(torch.zeros(1, 9, 17, 2), torch.zeros(4, 1, 5, 9, 17, 3))
    with pytest.raises(ShapeError, match=r"\(5, 1, H, 9, 17, 3\).*got \(5, 1, 5, 9, 16, 3\)"):
        D3DP(**TINY).sample(torch.zeros(1, 9, 17, 2), torch.zeros(5, 1, 5, 9, 16, 3))
    with pytest.raises(ConfigError, match="refines all frames"):
        D3DP(**TINY, schedule=Schedule(keep=(5,), at=(0,), recoverer="none"))
    with pytest.raises(ConfigError, match="steps <= levels"):
        D3DP(**TINY, steps=1001)
