"""MotionBERT against reference outputs: unpruned, pruned, and as HoT."""

import pytest
import torch

import lifter
from lifter.architectures.motionbert import MotionBERT
from lifter.h2ot.prune import density_peaks
from lifter.paper import flops
from lifter.samples import full_size_spec
from lifter.spec import Schedule

SMALL = {"maxlen": 27, "dim_feat": 64, "depth": 5, "dim_rep": 128, "heads": 8}


def test_the_unpruned_model_matches_the_reference(oracle):
    reference = oracle("motionbert_small")
    model = lifter.from_official("motionbert", reference["state_dict"], **SMALL, mlp_ratio=4)
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)


def test_hot_keeps_the_frames_of_the_reference(oracle):
    cluster = oracle("hot_motionbert_small")["cluster"]
    score = density_peaks(cluster["x_knn"], cluster["k"], cluster["noise"])
    assert score.topk(cluster["cluster_num"]).indices.tolist() == cluster["index_down"].tolist()


@pytest.mark.parametrize("run", ["outputs", "seed4321"])
def test_hot_recovers_the_poses_of_the_reference_from_its_frames(oracle, run, fixed_pruner):
    reference = oracle("hot_motionbert_small")
    config = reference["config"]
    model = lifter.from_official("hot_motionbert", reference["state_dict"], **config)
    model.hourglass.pruners[0] = fixed_pruner(reference[run]["kept_index"])
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, reference[run]["output"], atol=1e-5, rtol=0)


def test_both_streams_start_with_equal_shares():
    model = MotionBERT(frames=9, width=16, depth=2, heads=2)
    assert [fuse.weight.abs().max().item() for fuse in model.ts_attn] == [0.0, 0.0]
    assert [fuse.bias.tolist() for fuse in model.ts_attn] == [[0.5, 0.5]] * 2


@pytest.mark.parametrize(
    ("schedule", "parameters_m", "paper_gflops", "all_gflops"),
    [
        (None, 16.00, 131.09, 142.09),
        (Schedule((121, 81), (0, 1)), 16.00, 47.98, 49.67),
        (Schedule((81,), (1,), "tpc", "tra"), 16.35, 63.21, 66.86),
    ],
)
def test_it_costs_what_the_papers_say(schedule, parameters_m, paper_gflops, all_gflops):
    total = flops.count(full_size_spec("motionbert", schedule=schedule))[0]
    assert round(total.parameters / 1e6, 2) == parameters_m
    assert round(total.paper_flops / 1e9, 2) == paper_gflops
    assert round(total.all_flops / 1e9, 2) == all_gflops
