"""Batches of any size through graphs of fixed sizes. The graphs themselves need a GPU."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.engines.cuda_graphs import Buckets
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.messages import Window


def buckets(sizes=(1, 2, 4)):
    """Poses are keypoints plus width; `made` are the sizes recorded, `ran` those replayed."""
    made, ran = [], []

    def make(size):
        made.append(size)
        answer = torch.empty(size, 1)  # one memory for all answers, as a graph has

        def compute(keypoints, size_wh):
            assert len(keypoints) == len(size_wh) == size
            ran.append(size)
            answer.copy_(keypoints + size_wh[:, :1])
            return answer

        return compute

    return Buckets(make, sizes), made, ran


@pytest.mark.parametrize(
    ("number", "sizes"), [(1, [1]), (2, [2]), (3, [4]), (4, [4]), (5, [4, 1]), (11, [4, 4, 4])]
)
def test_a_batch_is_filled_up_to_the_next_size_and_split_at_the_largest(number, sizes):
    lift, _, ran = buckets()
    keypoints = torch.arange(number, dtype=torch.float32)[:, None]
    poses = lift(keypoints, torch.full((number, 2), 100.0))
    assert ran == sizes
    assert torch.equal(poses, keypoints + 100)


def test_a_size_is_recorded_once():
    lift, made, ran = buckets()
    for _ in range(3):
        lift(torch.zeros(3, 1), torch.zeros(3, 2))
    assert (made, ran) == ([4], [4, 4, 4])


def test_warming_up_records_all_sizes_the_largest_first():
    lift, made, ran = buckets()
    lift.warm_up()
    assert (made, ran) == ([4, 2, 1], [])


def test_an_answer_outlives_the_next_one():
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
    made = np.random.default_rng(0).uniform(0, 480, (3, 27, 17, 3)).astype(np.float32)
    windows = [Window(each, np.ones(27, np.uint8), np.arange(27), (640, 480)) for each in made]
    expected = Runner(model, spec, "cpu").lift(windows)
    on_gpu = Runner(model, spec, "cuda", engine="auto")
    assert on_gpu.engine == "graphs"
    np.testing.assert_allclose(on_gpu.lift(windows), expected, atol=1e-4)
