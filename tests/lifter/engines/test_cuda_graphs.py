"""Batches of any size in graphs of fixed sizes. The graphs themselves need a GPU."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lifter import normalise, weights
from lifter.engines import cuda_graphs
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


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
WIDTHS = {"width": 16, "depth": 2, "heads": 2}
H2OT = Schedule((13, 9), (0, 1))
ARCHITECTURES = {
    "mixste": {"config": WIDTHS, "schedule": H2OT},
    "mhformer": {
        "config": {"width": 16, "hidden": 32, "depth": 3, "heads": 2},
        "schedule": Schedule((13, 9), (0, 1), recoverer="centre"),
        "output": "centre",
    },
    "motionbert": {"config": WIDTHS, "schedule": H2OT, "normalise": "image", "in_channels": 3},
    "motionagformer": {
        "config": WIDTHS | {"neighbours": 2}, "schedule": H2OT, "normalise": "image", "in_channels": 3
    },
    "d3dp": {"config": WIDTHS | {"hypotheses": 2, "steps": 2}, "schedule": H2OT},
    "diffpose": {
        "config": WIDTHS | {"graph": {"width": 8, "layers": 1, "heads": 2}}, "schedule": H2OT
    },
}  # fmt: skip


def runners(device, engine="auto", dtype="float32", arch="mixste", **settings):
    """A lifter on the CPU, and the same weights on a GPU."""
    spec = LifterSpec(name="tiny", arch=arch, frames=27, **settings)
    torch.manual_seed(0)
    model = weights.build(spec)
    expected = Runner(copy.deepcopy(model), spec, "cpu")
    return expected, Runner(model, spec, device, dtype, engine=engine)


def batch(number, seed=0):
    keypoints = np.random.default_rng(seed).uniform(0, 480, (number, 27, 17, 3)).astype(np.float32)
    return [Window(k, np.ones(27, np.uint8), np.arange(27), (640, 480)) for k in keypoints]


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("convention", ["screen", "image", "person"])
def test_graphs_give_the_poses_of_the_cpu(convention):
    cpu, gpu = runners("cuda", normalise=convention, schedule=H2OT, config=WIDTHS)
    assert gpu.engine == "graphs"
    np.testing.assert_allclose(gpu.lift(batch(3)), cpu.lift(batch(3)), atol=1e-4)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_gives_the_poses_of_the_cpu(arch):
    cpu, gpu = runners("cuda", arch=arch, **ARCHITECTURES[arch])
    gpu.warm_up()
    assert gpu.replays_graphs
    for number in (1, 3, 40):
        np.testing.assert_allclose(gpu.lift(batch(number)), cpu.lift(batch(number)), atol=1e-3)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("pruner", ["tpc", "tpa", "tpmo"])
def test_pruners_that_read_the_input_are_recorded(pruner):
    schedule = Schedule((13, 9), (0, 1), pruner)
    cpu, gpu = runners("cuda", schedule=schedule, config=WIDTHS)
    gpu.warm_up()
    assert gpu.replays_graphs
    np.testing.assert_allclose(gpu.lift(batch(3)), cpu.lift(batch(3)), atol=1e-3)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize(("dtype", "error_m"), [("tf32", 5e-3), ("float16", 2e-2), ("bfloat16", 5e-2)])
def test_shorter_number_formats_give_nearly_the_poses_of_the_cpu(dtype, error_m):
    cpu, gpu = runners("cuda", dtype=dtype, schedule=H2OT, config=WIDTHS)
    poses = gpu.lift(batch(3))
    assert poses.dtype == np.float32
    np.testing.assert_allclose(poses, cpu.lift(batch(3)), atol=error_m)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second GPU")
def test_a_second_gpu_computes_on_its_own_memory():
    cpu, gpu = runners("cuda:1", schedule=H2OT, config=WIDTHS)
    gpu.warm_up()
    assert gpu.replays_graphs
    assert next(gpu.model.parameters()).device.index == 1
    np.testing.assert_allclose(gpu.lift(batch(3)), cpu.lift(batch(3)), atol=1e-4)


@pytest.mark.gpu
@on_a_gpu
def test_a_computation_that_cannot_be_recorded_runs_without_graphs():
    cpu, gpu = runners("cuda", schedule=H2OT, config=WIDTHS)
    compute = gpu.compute
    stalls = lambda keypoints, size_wh: compute(keypoints, size_wh) + keypoints.sum().item() * 0  # noqa: E731
    graphs = cuda_graphs.record_graphs(stalls, (27, 17), torch.device("cuda"))
    with torch.inference_mode(), pytest.raises(cuda_graphs.CaptureFailed):
        graphs.warm_up()
    np.testing.assert_allclose(gpu.lift(batch(3)), cpu.lift(batch(3)), atol=1e-4)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("warm", [True, False])
def test_a_lifter_whose_recording_fails_goes_on_without_graphs(monkeypatch, warm):
    cpu, gpu = runners("cuda", engine="graphs", schedule=H2OT, config=WIDTHS)
    screen = normalise.screen

    def waiting(keypoints, size_wh):
        return screen(keypoints, size_wh) + 0 * keypoints.sum().item()  # no graph can hold a wait

    monkeypatch.setattr(normalise, "screen", waiting)
    if warm:
        gpu.warm_up()
        assert not gpu.replays_graphs
    for number in (2, 5):
        np.testing.assert_allclose(gpu.lift(batch(number)), cpu.lift(batch(number)), atol=1e-4)
    assert not gpu.replays_graphs


@pytest.mark.gpu
@on_a_gpu
def test_out_of_memory_while_recording_leaves_a_lifter_that_works():
    cpu, gpu = runners("cuda", schedule=H2OT, config=WIDTHS)
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        gpu.warm_up()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(gpu.lift(batch(2)), cpu.lift(batch(2)), atol=1e-4)


@pytest.mark.gpu
@on_a_gpu
def test_two_lifters_in_two_threads_do_not_mix_their_poses():
    first = runners("cuda", schedule=H2OT, config=WIDTHS)
    second = runners("cuda", normalise="person", in_channels=3, schedule=H2OT, config=WIDTHS)
    with ThreadPoolExecutor(2) as threads:
        jobs = [
            (cpu, number, threads.submit(gpu.lift, batch(number, number)))
            for number in range(1, 30)
            for cpu, gpu in (first, second)
        ]
        for cpu, number, job in jobs:
            np.testing.assert_allclose(job.result(), cpu.lift(batch(number, number)), atol=1e-3)
