"""Batches of any size in graphs of fixed sizes. The graphs themselves need a GPU."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.engines.cuda_graphs import Buckets
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.messages import Window


def buckets(sizes=(1, 2, 4)):
    """Buckets whose poses are keypoints plus width, with the sizes recorded and the sizes replayed."""
    recorded, replayed = [], []

    def make(size):
        recorded.append(size)
        poses = torch.empty(size, 1)  # the same memory for every call, like a graph

        def compute(keypoints, size_wh):
            assert len(keypoints) == len(size_wh) == size
            replayed.append(size)
            poses.copy_(keypoints + size_wh[:, :1])
            return poses

        return compute

    return Buckets(make, sizes), recorded, replayed


@pytest.mark.parametrize(
    ("number", "sizes"), [(1, [1]), (2, [2]), (3, [4]), (4, [4]), (5, [4, 1]), (11, [4, 4, 4])]
)
def test_a_batch_is_padded_to_the_next_size_and_split_at_the_largest(number, sizes):
    lift, _, replayed = buckets()
    keypoints = torch.arange(number, dtype=torch.float32)[:, None]
    poses = lift(keypoints, torch.full((number, 2), 100.0))
    assert replayed == sizes
    assert torch.equal(poses, keypoints + 100)


def test_a_size_is_recorded_once():
    lift, recorded, replayed = buckets()
    for _ in range(3):
        lift(torch.zeros(3, 1), torch.zeros(3, 2))
    assert (recorded, replayed) == ([4], [4, 4, 4])


def test_warm_up_records_all_sizes_from_the_largest_down():
    lift, recorded, replayed = buckets()
    lift.warm_up()
    assert (recorded, replayed) == ([4, 2, 1], [])


def test_poses_survive_the_next_call():
    lift, _, _ = buckets()
    first = lift(torch.ones(2, 1), torch.zeros(2, 2))
    lift(torch.zeros(2, 1), torch.zeros(2, 2))
    assert torch.equal(first, torch.ones(2, 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("normalise", ["screen", "image", "person"])
def test_graphs_give_the_poses_of_the_cpu(normalise):
    config = {"width": 16, "depth": 2, "heads": 2}
    spec = LifterSpec(
        name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), normalise=normalise, config=config
    )
    torch.manual_seed(0)
    model = weights.build(spec)
    batch = np.random.default_rng(0).uniform(0, 480, (3, 27, 17, 3)).astype(np.float32)
    windows = [Window(keypoints, np.ones(27, np.uint8), np.arange(27), (640, 480)) for keypoints in batch]
    expected = Runner(model, spec, "cpu").lift(windows)
    on_gpu = Runner(model, spec, "cuda", engine="auto")
    assert on_gpu.engine == "graphs"
    np.testing.assert_allclose(on_gpu.lift(windows), expected, atol=1e-4)
