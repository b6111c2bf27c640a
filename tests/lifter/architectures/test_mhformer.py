"""MHFormer against reference outputs: unpruned, pruned, and with TPC as first published."""

import pytest
import torch

import lifter
from lifter.architectures.mhformer import MHFormer
from lifter.h2ot.prune import density_peaks
from lifter.paper import flops
from lifter.runner import Runner
from lifter.samples import full_size_spec
from lifter.spec import LifterSpec, Schedule
from lifter.weights import build
from stream.errors import ConfigError

SMALL = {"width": 64, "hidden": 128}


@pytest.mark.parametrize("name", ["mhformer_small_F9", "mhformer_small_F81"])
def test_the_unpruned_model_matches_the_reference(oracle, name):
    reference = oracle(name)
    model = lifter.from_official("mhformer", reference["state_dict"], **reference["config"])
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("recoverer", [None, "tri", "centre", "none"])
def test_it_returns_the_centre_frame(oracle, recoverer):
    reference = oracle("mhformer_small_F81")
    schedule = None if recoverer is None else Schedule(keep=(41, 27), at=(0, 1), recoverer=recoverer)
    model = MHFormer(frames=81, **SMALL, schedule=schedule).eval()
    model.load_state_dict(reference["state_dict"], strict=True)
    expected = reference["outputs"]["output"]
    if recoverer is not None:
        expected = reference["h2ot"]["variants"]["round"]["tri_at_index"]
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, expected[:, 40:41], atol=1e-5, rtol=0)


def test_tpc_keeps_the_frames_of_the_reference(oracle):
    cluster = oracle("tpc_mhformer_small")["cluster"]
    score = density_peaks(cluster["x_knn"], cluster["k"], cluster["noise"])
    score[:, 40] = 0  # the reference keeps the centre in addition to its selection
    scores = score.topk(cluster["cluster_num"]).values
    reference_scores = score.gather(1, cluster["index_down"]).sort(descending=True).values
    # The order of scores that agree to six digits depends on the processor.
    torch.testing.assert_close(reference_scores, scores, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("run", ["outputs", "seed4321"])
def test_tpc_gives_the_poses_of_the_reference_for_its_frames(oracle, run, fixed_pruner):
    reference = oracle("tpc_mhformer_small")
    model = lifter.from_official("tpc_mhformer", reference["state_dict"], **reference["config"])
    model.hourglass.pruners[0] = fixed_pruner(reference[run]["kept_index"])
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, reference[run]["output"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("keep", "at", "alive"),
    [
        ((5, 3), (0, 1), [5, 5, 3]),  # H2OT: the last of several stages is before CHI
        ((3,), (1,), [9, 3, 3]),  # HoT's TPC: a single stage at its own block
        ((7, 5, 3), (0, 1, 2), [7, 5, 3]),
    ],
)
def test_stages_are_at_the_blocks_of_the_papers(keep, at, alive):
    model = MHFormer(frames=9, width=16, hidden=16, heads=2, schedule=Schedule(keep=keep, at=at)).eval()
    tokens = []
    for block in model.Transformer_hypothesis.blocks():
        block.register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[1]))
    model(torch.zeros(1, 9, 17, 2))
    assert tokens == alive


def test_a_window_that_the_trajectory_heads_do_not_divide_raises():
    with pytest.raises(ConfigError, match=r"multiple of 9.*got 80"):
        MHFormer(frames=80)


@pytest.mark.parametrize(
    ("schedule", "parameters_m", "paper_gflops", "all_gflops"),
    [
        (None, 31.52, 14.15, 16.44),
        (Schedule((175, 117), (0, 1)), 31.52, 6.74, 7.22),
        (Schedule((117,), (1,), "tpc", "none"), 31.52, 8.22, 9.16),
    ],
)
def test_it_costs_what_the_papers_say(schedule, parameters_m, paper_gflops, all_gflops):
    total = flops.count(full_size_spec("mhformer", schedule=schedule))[0]
    assert round(total.parameters / 1e6, 2) == parameters_m
    assert round(total.paper_flops / 1e9, 2) == paper_gflops
    assert round(total.all_flops / 1e9, 2) == all_gflops


def test_a_spec_for_all_frames_of_it_raises():
    spec = LifterSpec(name="centre only", arch="mhformer", frames=9, output="sequence")
    with pytest.raises(ConfigError, match="all 9 frames, the model gives 1"):
        Runner(build(spec), spec).warm_up()


def test_a_stage_after_the_last_block_raises():
    with pytest.raises(ConfigError, match="below 3"):
        MHFormer(frames=9, schedule=Schedule(keep=(5, 3), at=(0, 3)))
