"""DiffPose against reference outputs: its graph denoiser, and one reverse step with it."""

import pytest
import torch

import lifter
from lifter.architectures.diffpose import DiffPose
from lifter.architectures.graph_denoiser import GraphDenoiser
from lifter.checkpoints.convert import import_weights
from lifter.paper.flops import count
from lifter.samples import full_size_spec
from lifter.spec import Schedule
from lifter.weights import load
from stream.errors import ConfigError, ShapeError

TINY = {"frames": 9, "width": 16, "depth": 2, "heads": 2, "graph": {"width": 16, "layers": 2, "heads": 2}}


@pytest.fixture(scope="module")
def reference(oracle):
    return oracle("diffpose_gcn")


@pytest.fixture(scope="module")
def denoiser(reference):
    model = GraphDenoiser().eval()
    model.load_state_dict(reference["state_dict"], strict=True)
    return model


def test_the_denoiser_matches_the_reference(reference, denoiser):
    with torch.inference_mode():
        noise = denoiser(reference["inputs"]["x"], reference["inputs"]["t"])
    torch.testing.assert_close(noise, reference["outputs"]["output"], atol=1e-5, rtol=0)


def test_joints_mix_along_the_released_skeleton(reference, denoiser):
    """The graph is row-normalised; the polynomials of its Laplacian have degrees 0, 1 and 2."""
    adjacency = reference["inputs"]["adj"]
    degrees = torch.diag(adjacency.sum(dim=1) ** -0.5)
    laplacian = torch.eye(17) - degrees @ adjacency @ degrees
    expected = torch.stack([torch.eye(17), laplacian, 2 * laplacian @ laplacian - torch.eye(17)])
    torch.testing.assert_close(denoiser.chebyshev, expected, atol=1e-6, rtol=0)


def test_the_noise_schedule_equals_the_released_one(reference):
    left = torch.cumprod(1 - reference["inputs"]["betas"], dim=0)
    assert torch.equal(DiffPose(**TINY).alpha_bar, left)


@pytest.mark.parametrize(
    ("sample", "level"), [((6, 16, 5), 6), ((6, 17, 4), 6), ((2, 3, 17, 5), 6), ((6, 17, 5), 5)]
)
def test_a_sample_of_another_shape_raises(denoiser, sample, level):
    with pytest.raises(ShapeError, match=r"\(N, 17, 5\) and levels \(N,\), got"):
        denoiser(torch.zeros(sample), torch.zeros(level))


def test_names_and_shapes_equal_the_released_ones(reference):
    shapes = {key: tuple(value.shape) for key, value in GraphDenoiser().state_dict().items()}
    assert shapes == {key: tuple(shape) for key, shape in reference["keys"].items()}


def test_the_released_checkpoint_loads(reference):
    state = {f"module.{key}": value for key, value in reference["state_dict"].items()}
    model = lifter.from_official("diffpose_gcn", [state, {"lr": 1e-3}, 5, 100], **reference["config"])
    with torch.inference_mode():
        noise = model(reference["inputs"]["x"], reference["inputs"]["t"])
    torch.testing.assert_close(noise, reference["outputs"]["output"], atol=1e-5, rtol=0)


def test_two_checkpoints_load_as_one_lifter(reference, oracle):
    mixste = oracle("mixste_small")
    state = {f"pose.{key}": value for key, value in mixste["state_dict"].items()}
    state |= {f"denoiser.{key}": value for key, value in reference["state_dict"].items()}
    model = lifter.from_official("diffpose", state, frames=27, channel=64)
    with torch.inference_mode():
        torch.testing.assert_close(
            model.pose(mixste["inputs"]["x"]), mixste["outputs"]["output"], atol=1e-5, rtol=0
        )
        assert model(mixste["inputs"]["x"]).shape == mixste["outputs"]["output"].shape


def test_two_released_files_are_imported_as_one_lifter(reference, oracle, tmp_path):
    mixste = oracle("mixste_small")
    graph = {f"module.{key}": value for key, value in reference["state_dict"].items()}
    torch.save([graph, {"lr": 1e-3}, 5, 100], tmp_path / "diffpose.pth")
    torch.save({"model_pos": mixste["state_dict"]}, tmp_path / "mixste.bin")
    sizes = {"frames": 27, "channel": 64}
    with pytest.raises(ConfigError, match="expected pose=FILE"):
        import_weights("diffpose", tmp_path / "diffpose.pth", tmp_path / "both.safetensors", **sizes)
    import_weights(
        "diffpose",
        tmp_path / "diffpose.pth",
        tmp_path / "both.safetensors",
        Schedule(keep=(13, 9), at=(0, 3)),
        pose=tmp_path / "mixste.bin",
        **sizes,
    )
    model, spec = load(tmp_path / "both.safetensors")
    assert (spec.arch, spec.frames, spec.schedule) == ("diffpose", 27, Schedule(keep=(13, 9), at=(0, 3)))
    x = reference["inputs"]
    with torch.inference_mode():
        torch.testing.assert_close(
            model.denoiser(x["x"], x["t"]), reference["outputs"]["output"], atol=1e-5, rtol=0
        )
        torch.testing.assert_close(
            model.pose(mixste["inputs"]["x"]),
            mixste["h2ot"]["variants"]["round"]["tri_at_index"],
            atol=1e-5,
            rtol=0,
        )


def test_the_released_reverse_step_matches_the_reference(reference, denoiser):
    model = DiffPose(frames=6, width=16, depth=1, heads=2).eval()
    model.denoiser = denoiser
    expected = reference["outputs"]["ddim_output"][..., 2:]
    with torch.inference_mode():
        poses = model.refine(reference["inputs"]["x"][None])
    torch.testing.assert_close(poses[0], expected - expected[:, :1], atol=1e-5, rtol=0)


def test_the_reverse_chain_has_evenly_spaced_levels():
    levels = [step.level for step in DiffPose(**TINY, steps=3, start=12).chain]
    assert levels == [8, 4, 0]
    assert [step.level for step in DiffPose(**TINY).chain] == [0]


def test_an_exact_denoiser_recovers_the_clean_poses():
    """In five steps from random hypotheses, with the exact noise instead of the network."""
    model = DiffPose(**TINY, hypotheses=4, steps=5, start=50).eval()
    clean = torch.rand(2, 9, 17, 5)
    truth = clean[:, None].expand(-1, 4, -1, -1, -1).reshape(-1, 17, 5)

    class Exact(torch.nn.Module):
        def forward(self, sample, level):
            left = model.alpha_bar[level.long()][:, None, None]
            return (sample - left.sqrt() * truth) / (1 - left).sqrt()

    model.denoiser = Exact()
    wanted = clean[..., 2:] - clean[:, :, :1, 2:]
    torch.testing.assert_close(model.refine(clean), wanted, atol=1e-4, rtol=0)


def test_several_hypotheses_surround_the_lifted_pose_and_are_deterministic():
    model = DiffPose(**TINY, hypotheses=8, steps=5, start=50).eval()
    x = torch.rand(2, 9, 17, 2)
    with torch.inference_mode():
        assert torch.equal(model(x), model(x))
        torch.testing.assert_close(model(x)[1:], model(x[1:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("hypotheses", [1, 2])
def test_a_lift_exports_with_any_batch(hypotheses):
    model = DiffPose(**TINY, schedule=Schedule(keep=(5, 3), at=(0, 1)), hypotheses=hypotheses).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    exported = torch.export.export(model, (torch.rand(2, 9, 17, 2),), dynamic_shapes=(batch,)).module()
    x = torch.rand(3, 9, 17, 2)
    with torch.inference_mode():
        poses = model(x)
        torch.testing.assert_close(exported(x), poses, atol=1e-5, rtol=0)
    assert poses.shape == (3, 9, 17, 3)
    assert poses[:, :, 0].abs().max() == 0


@pytest.mark.parametrize(("schedule", "gflops"), [(None, 277.25), (Schedule(), 118.23)])
def test_its_frozen_lifter_costs_what_the_paper_says(schedule, gflops):
    total = count(full_size_spec("diffpose", schedule=schedule))[0]
    assert round(total.parameters / 1e6, 2) == 33.78
    assert round(total.paper_flops / 1e9, 2) == gflops


def test_it_builds_on_the_meta_device():
    with torch.device("meta"):
        model = DiffPose(**TINY, hypotheses=2)
    assert model.to("meta")(torch.zeros(1, 9, 17, 2, device="meta")).shape == (1, 9, 17, 3)


def test_training_learns_the_noise_and_leaves_the_frozen_lifter_unchanged():
    torch.manual_seed(0)
    model = DiffPose(**TINY).train()
    frozen = {key: value.clone() for key, value in model.pose.state_dict().items()}
    keypoints, poses = torch.rand(1, 1, 17, 2).expand(16, 9, -1, -1), torch.zeros(16, 9, 17, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        noisy, level, noise = model.corrupt(keypoints, poses, generator)
        loss = model.loss(model(keypoints, noisy, level), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(torch.equal(value, frozen[key]) for key, value in model.pose.state_dict().items())
    assert all(parameter.grad is not None for parameter in model.denoiser.parameters())


def test_corruption_mixes_sample_and_noise_by_level_in_pairs():
    model = DiffPose(**TINY)
    keypoints, poses = torch.rand(4, 9, 17, 2), torch.rand(4, 9, 17, 3)
    noisy, level, noise = model.corrupt(keypoints, poses, torch.Generator().manual_seed(1))
    clean = torch.cat([keypoints, poses - poses[:, :, :1]], dim=-1)
    left = torch.cumprod(1 - torch.linspace(1e-4, 1e-3, 51), dim=0)[level][..., None, None]
    torch.testing.assert_close(noisy, left.sqrt() * clean + (1 - left).sqrt() * noise)
    half = level.flatten()[:19]
    assert torch.equal(level.flatten()[19:], (50 - half)[:17])
    assert noise[..., :2].std() == pytest.approx(0.5, rel=0.1)  # more than in sampling, as released
    assert noise[..., 2:].std() == pytest.approx(1.0, rel=0.1)


def test_inputs_and_settings_that_do_not_fit_raise():
    with pytest.raises(ShapeError, match="9, 17, 2"):
        DiffPose(**TINY)(torch.zeros(1, 8, 17, 2))
    with pytest.raises(ShapeError, match="together, got only one of them"):
        DiffPose(**TINY)(torch.zeros(1, 9, 17, 2), level=torch.zeros(1, 9))
    with pytest.raises(ConfigError, match="heads: expected a divisor of the width 96, got 5"):
        GraphDenoiser(heads=5)
    with pytest.raises(ConfigError, match="refines all frames, expected 'tri' or 'tra'"):
        DiffPose(**TINY, schedule=Schedule(keep=(5,), at=(0,), recoverer="none"))
    with pytest.raises(ConfigError, match="steps <= start"):
        DiffPose(**TINY, steps=7)
