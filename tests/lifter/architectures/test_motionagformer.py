"""MotionAGFormer against reference outputs: unpruned, as HoT, and sized by its schedule."""

import pytest
import torch

import lifter
from lifter.architectures.motionagformer import MotionAGFormer, SpatialGraph, TemporalGraph
from lifter.h2ot.prune import density_peaks
from lifter.paper import flops
from lifter.samples import full_size_spec
from lifter.spec import Schedule
from stream.errors import CheckpointError, ConfigError

SMALL = {"frames": 27, "width": 32, "depth": 4, "rep_width": 64}


def test_the_unpruned_model_matches_the_reference(oracle):
    reference = oracle("motionagformer_small")
    model = lifter.from_official("motionagformer", reference["state_dict"], **reference["config"])
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)


def test_hot_keeps_the_frames_of_the_reference(oracle):
    cluster = oracle("hot_motionagformer_small")["cluster"]
    score = density_peaks(cluster["x_knn"], cluster["k"], cluster["noise"])
    assert score.topk(cluster["cluster_num"]).indices.tolist() == cluster["index_down"].tolist()


@pytest.mark.parametrize("run", ["outputs", "seed4321"])
def test_hot_recovers_the_poses_of_the_reference_from_its_frames(oracle, run, fixed_pruner):
    reference = oracle("hot_motionagformer_small")
    config = reference["config"]
    model = lifter.from_official("hot_motionagformer", reference["state_dict"], **config)
    model.hourglass.pruners[0] = fixed_pruner(reference[run]["kept_index"])
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, reference[run]["output"], atol=1e-5, rtol=0)


def test_fewer_than_one_neighbour_raises():
    with pytest.raises(ConfigError, match="neighbours of at least 1, got 0"):
        MotionAGFormer(**SMALL, neighbours=0)


@pytest.mark.parametrize("name", ["heads", "neighbours"])
def test_heads_and_neighbours_change_the_poses_but_not_the_weights(oracle, name):
    reference = oracle("motionagformer_small")
    model = MotionAGFormer(**SMALL, **{name: 4}).eval()
    model.load_state_dict(reference["state_dict"], strict=True)
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    assert (poses - reference["outputs"]["output"]).abs().max() > 0.01


def test_a_temporal_graph_normalises_over_the_frames_alive_in_its_layer():
    model = MotionAGFormer(**SMALL, schedule=Schedule(keep=(13, 9), at=(1, 3)))
    frames = [layer.graph_temporal.mixer.batch_norm.num_features for layer in model.layers]
    joints = [layer.graph_spatial.mixer.batch_norm.num_features for layer in model.layers]
    assert (frames, joints) == ([27, 13, 13, 9], [17, 17, 17, 17])


def test_weights_of_another_schedule_raise(oracle):
    reference = oracle("motionagformer_small")
    with pytest.raises(
        CheckpointError, match=r"layers\.2\.graph_temporal\.mixer\.batch_norm.*\(9,\).*\(27,\)"
    ):
        lifter.from_official(
            "motionagformer",
            reference["state_dict"],
            Schedule(keep=(9,), at=(2,)),
            **reference["config"],
        )


def test_the_body_graph_is_as_asymmetric_as_the_released_one():
    edges = SpatialGraph(8).adjacency
    one_way = [(row, column) for row, column in (edges < edges.T).nonzero().tolist()]
    assert one_way == [(0, 4), (8, 11), (8, 14)]
    assert edges.sum().item() == 2 * 16 - 3


def test_frames_gather_from_the_most_similar_frames():
    x = torch.tensor([[[2.0, 0.0], [3.0, 0.0], [0.0, 1.0]]])  # (1, T, D)
    assert TemporalGraph(2, frames=3, neighbours=1).edges(x).tolist() == [[[0, 1, 0], [0, 1, 0], [0, 0, 1]]]


def test_another_number_of_joints_raises():
    with pytest.raises(ConfigError, match="17 joints"):
        MotionAGFormer(joints=16)


@pytest.mark.parametrize(
    ("schedule", "parameters_m", "paper_gflops", "all_gflops"),
    [
        (None, 11.72, 95.99, 128.92),
        (Schedule((121, 81), (0, 7)), 11.72, 38.87, 43.21),
        (Schedule((81,), (7,), "tpc", "tra"), 11.83, 60.56, 76.66),
    ],
)
def test_it_costs_what_the_papers_say(schedule, parameters_m, paper_gflops, all_gflops):
    total = flops.count(full_size_spec("motionagformer", schedule=schedule))[0]
    assert round(total.parameters / 1e6, 2) == parameters_m
    assert round(total.paper_flops / 1e9, 2) == paper_gflops
    assert round(total.all_flops / 1e9, 2) == all_gflops
