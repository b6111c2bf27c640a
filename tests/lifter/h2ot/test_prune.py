"""The frames that each pruner keeps."""

import numpy as np
import pytest
import torch

from lifter.h2ot.prune import TPA, TPC, TPS, PruningInput, TPMo, density_peaks, distances, uniform
from lifter.layers import take

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def state(tokens=None, keypoints=None, attention=None, frames=5):
    return PruningInput(tokens, keypoints, torch.arange(frames), lambda _: attention)


def test_the_schedule_of_the_paper_keeps_about_every_third_frame():
    kept = np.arange(243)[uniform(243, 121)][uniform(121, 81)]
    assert kept[:6].tolist() == [0, 4, 6, 10, 12, 16]
    assert (kept[0], kept[40], kept[-1]) == (0, 121, 242)


@pytest.mark.parametrize(
    ("alive", "keep", "expected"),
    [(5, 5, [0, 1, 2, 3, 4]), (9, 5, [0, 2, 4, 6, 8]), (6, 3, [0, 3, 5]), (4, 2, [0, 3]), (7, 1, [0])],
)
def test_uniform_samples_round_half_up_and_contain_both_ends(alive, keep, expected):
    assert uniform(alive, keep).tolist() == expected


def test_uniform_samples_of_odd_counts_contain_the_centre():
    for alive in range(1, 352, 2):
        for keep in range(3, alive + 1, 2):
            index = uniform(alive, keep)
            assert index[keep // 2] == alive // 2
            assert (np.diff(index) > 0).all()


def test_the_centre_replaces_the_nearest_sample():
    frames = np.array([0, 3, 4, 6, 9])  # alive in a window of 10
    assert TPS(2, frames).index.tolist() == [0, 4]
    pruner = TPS(2, frames, centre=4)
    assert (pruner.index.tolist(), pruner.fixed_frames.tolist()) == ([2, 4], [4, 9])
    assert TPS(1, np.arange(9), centre=4).index.tolist() == [4]
    assert TPS(3, np.arange(10), centre=6).index.tolist() == [0, 6, 9]  # 6 is nearer to 5 than to 0


def test_motion_keeps_the_frames_before_which_the_pose_moved_most():
    x = torch.tensor([0.0, 1.0, 1.0, 4.0, 4.5])[None, :, None, None].expand(1, 5, 17, 2)
    assert TPMo(2, None)(state(keypoints=x)).tolist() == [[1, 3]]
    assert TPMo(3, None)(state(keypoints=x)).tolist() == [[1, 3, 4]]


def test_opposite_motions_do_not_cancel():
    x = torch.zeros(1, 5, 2, 3)
    x[0, 2, 0, 0], x[0, 2, 1, 0] = 1.0, -1.0  # and back in the next frame
    x[0, :, :, 2] = torch.tensor([0.0, 900, 0, 0, 900])[:, None]  # scores are not motion
    assert TPMo(2, None)(state(keypoints=x)).tolist() == [[2, 3]]


def test_attention_keeps_the_frames_that_receive_most_and_prefers_earlier_frames():
    received = torch.tensor([[0.5, 2.0, 2.0, 0.5, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    assert TPA(2, None)(state(attention=received)).tolist() == [[1, 2], [0, 1]]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_a_gpu])])
def test_among_many_equal_scores_the_earlier_frames_win(device):
    """Hundreds of equal values, because a GPU sorts short rows stably by itself."""
    received = torch.ones(8, 2000, device=device)
    assert TPA(3, None)(state(attention=received)).tolist() == [[0, 1, 2]] * 8


@pytest.mark.parametrize("pruner", [TPA, TPC, TPMo])
def test_the_centre_counts_among_the_kept_frames(pruner):
    generator = torch.Generator().manual_seed(0)
    before = PruningInput(
        torch.rand(2, 5, 3, 8, generator=generator),
        torch.zeros(2, 5, 3, 2),
        torch.tensor([0, 1, 4, 6, 7]),
        lambda tokens: torch.tensor([[3.0, 2.0, 0.0, 1.0, 1.0]]).expand(2, -1),
    )
    for keep in (1, 2, 4):
        index = pruner(keep, None, centre=4)(before)
        assert index.shape == (2, keep)
        assert (index == 2).any(dim=1).all()


RELEASED = ["hot_mixste", "tpc_mixste", "tpc_mhformer", "hot_motionbert", "hot_motionagformer"]


@pytest.mark.parametrize("name", RELEASED)
def test_clusters_equal_those_of_the_release_with_its_noise(oracle, name):
    reference = oracle(f"{name}_small")
    cluster, run = reference["cluster"], reference["outputs"]
    frames, keep = cluster["x_knn"].shape[1], run["kept_index"].shape[1]
    pruner = TPC(keep, None, centre=frames // 2 if name.startswith("tpc") else None)
    pruner.noise = cluster["noise"]
    index = pruner(state(tokens=cluster["x_knn"][:, :, None], frames=frames))
    assert index.tolist() == run["kept_index"].tolist()


def test_the_earlier_of_two_mutual_neighbours_is_the_cluster_centre():
    """Three pairs of close points; both points of a pair are equally dense."""
    x = torch.tensor([0.0, 10.0, 0.1, 10.1, 5.0, 5.1])[None, :, None, None]
    assert TPC(3, None)(state(tokens=x)).tolist() == [[0, 1, 4]]


def test_distances_of_close_points_far_from_the_origin_are_exact():
    x = 10 + torch.rand(2, 30, 64, generator=torch.Generator().manual_seed(0))
    x[:, 1] = x[:, 0] + 1e-4
    exact = (x[:, :, None].double() - x[:, None].double()).norm(dim=-1)
    torch.testing.assert_close(distances(x).double(), exact, atol=1e-6, rtol=1e-6)
    assert torch.equal(distances(x), distances(x).mT)
    assert not distances(x).diagonal(dim1=1, dim2=2).any()


def test_the_densest_point_scores_by_its_largest_distance():
    score = density_peaks(torch.tensor([[[0.0], [0.1], [3.0]]]), neighbours=2)
    densest, second = np.exp(-(0.1**2) / 2) * 3.0, np.exp(-(0.1**2) / 2) * 0.1
    np.testing.assert_allclose(score[0, :2], [densest, second], rtol=1e-5)


def test_the_densest_point_of_a_window_without_ties_takes_the_largest_distance_of_its_own_row():
    """Point 1 is the densest; the largest distance of the window lies between points 0 and 3."""
    x = torch.tensor([[[-3.0], [0.0], [0.1], [4.0]]])
    score = density_peaks(x, neighbours=2)
    assert score[0, 1] == pytest.approx(np.exp(-(0.1**2) / 2) * 4.0, rel=1e-5)


def test_take_selects_the_same_frames_or_other_frames_per_window():
    x = torch.arange(12).view(2, 3, 2)
    assert take(x, torch.tensor([0, 2])).tolist() == [[[0, 1], [4, 5]], [[6, 7], [10, 11]]]
    assert take(x, torch.tensor([[0, 2], [1, 2]])).tolist() == [[[0, 1], [4, 5]], [[8, 9], [10, 11]]]
    assert take(torch.tensor([5, 6, 7]), torch.tensor([[0, 2], [1, 2]])).tolist() == [[5, 7], [6, 7]]
    assert take(torch.tensor([5, 6, 7]), torch.tensor([0, 2])).tolist() == [5, 7]
