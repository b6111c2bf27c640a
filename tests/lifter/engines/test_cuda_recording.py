"""The recording of CUDA graphs on a fake device, and the rules for memory, seeds and engines on a GPU."""

import numpy as np
import pytest
import torch

from lifter import runner as runners
from lifter import weights
from lifter.engines import choose, cuda_graphs
from lifter.engines.frame_cache import FrameCache
from lifter.runner import Runner
from lifter.spec import MAX_WINDOWS, LifterSpec, Schedule
from lifter.training.batch import step_generator, step_seed
from stream.errors import ConfigError
from stream.messages import Window
from tests.lifter.engines.fake_cuda import FakeCuda

SPEC = LifterSpec(
    name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), config={"width": 16, "depth": 2, "heads": 2}
)
CPU = torch.device("cpu")


def poses_of(keypoints, size_wh):
    return keypoints + size_wh[:, None, None, :1]


def test_no_graph_is_larger_than_a_live_batch():
    assert cuda_graphs.SIZES == (1, 2, 4, 8, 16, 32)
    assert cuda_graphs.SIZES[-1] == MAX_WINDOWS


def test_all_graphs_are_recorded_on_one_stream_into_one_pool(monkeypatch):
    cuda = FakeCuda().install(monkeypatch)
    cuda_graphs.record_graphs(poses_of, (27, 17), CPU).warm_up()
    captures = [call for call in cuda.calls if call[0] == "capture"]
    assert len(captures) == 6
    assert len({call[1:] for call in captures}) == 1
    assert captures[0][3] == "thread_local"
    assert (len(cuda.streams), len(cuda.pools)) == (1, 1)


def test_a_call_replays_once_and_waits_once_without_spinning(monkeypatch):
    cuda = FakeCuda().install(monkeypatch)
    graphs = cuda_graphs.record_graphs(poses_of, (27, 17), CPU)
    graphs.warm_up()
    cuda.calls.clear()
    graphs(torch.zeros(3, 27, 17, 3), torch.full((3, 2), 640.0))
    assert cuda.calls == ["replay", "record event", "wait for event"]


def test_after_a_failed_recording_the_lifter_runs_without_graphs(monkeypatch, caplog):
    torch.manual_seed(0)
    lifter = Runner(weights.build(SPEC), SPEC, "cpu")
    batch = np.random.default_rng(0).uniform(0, 480, (3, 27, 17, 3)).astype(np.float32)
    windows = [Window(keypoints, np.ones(27, np.uint8), np.arange(27), (640, 480)) for keypoints in batch]
    expected = lifter.lift(windows)
    cuda = FakeCuda(fail_at=2).install(monkeypatch)
    monkeypatch.setattr(choose, "why_unavailable", lambda *arguments: "")
    failing = Runner(lifter.model, SPEC, "cpu", engine="graphs")
    assert failing.replays_graphs
    failing.warm_up()
    assert cuda.current == "caller"  # not the stream of the capture
    assert not failing.replays_graphs
    assert "no CUDA graphs (CUDA out of memory)" in caplog.text
    np.testing.assert_allclose(failing.lift(windows), expected, atol=1e-6)
    np.testing.assert_allclose(failing.lift(windows, last=2), expected[:, -2:], atol=1e-6)


def test_a_recording_that_fails_in_a_live_call_does_not_lose_the_call(monkeypatch):
    torch.manual_seed(0)
    FakeCuda(fail_at=0).install(monkeypatch)
    monkeypatch.setattr(choose, "why_unavailable", lambda *arguments: "")
    lifter = Runner(weights.build(SPEC), SPEC, "cpu", engine="graphs")
    window = Window(np.ones((27, 17, 3), np.float32), np.ones(27, np.uint8), np.arange(27), (640, 480))
    assert np.isfinite(lifter.lift([window])).all()
    assert not lifter.replays_graphs


def test_the_frame_cache_takes_a_share_of_the_free_memory_of_a_gpu(monkeypatch):
    free, row_bytes = 16 << 20, 17 * 16 * 4
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 100 * free))
    cache = FrameCache.for_network(weights.build(SPEC), SPEC, torch.device("cuda"))
    x = torch.rand(1, 27, 17, 2)
    with torch.inference_mode():
        cache.lookup(x, cache.keys(torch.rand(1, 27, 17, 3), torch.ones(1, 2)))
    assert cache.capacity == free // 16 // row_bytes


def test_the_frame_cache_is_halved_until_it_fits_into_memory(monkeypatch):
    cache = FrameCache(weights.build(SPEC), 2, 800 * 17 * 16 * 4)
    new_empty = torch.Tensor.new_empty

    def limited(tensor, size, **rest):
        if size[0] > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return new_empty(tensor, size, **rest)

    monkeypatch.setattr(torch.Tensor, "new_empty", limited)
    with torch.inference_mode():
        cache.lookup(torch.rand(1, 27, 17, 2), cache.keys(torch.rand(1, 27, 17, 3), torch.ones(1, 2)))
    assert cache.capacity == 200


def test_the_windows_of_a_part_are_limited_by_the_free_memory_of_a_gpu(monkeypatch):
    lifter = Runner(weights.build(SPEC), SPEC, "cpu")
    widest = 27 * 17 * 48 * 4  # queries, keys and values
    assert lifter.max_windows == (26 << 20) // widest
    free = 16 * 1000 * widest
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    monkeypatch.setattr(runners, "find_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *arguments: module)
    assert Runner(weights.build(SPEC), SPEC, "cuda").max_windows == 1000


def test_tf32_is_refused_on_a_cpu():
    with pytest.raises(ConfigError, match="tf32 needs a CUDA device, the lifter is on cpu"):
        Runner(weights.build(SPEC), SPEC, "cpu", dtype="tf32")


def test_processes_draw_different_random_numbers_and_repeat_their_own():
    assert step_seed(1, 5) == 1_000_008  # a single process keeps the numbers of earlier versions
    seeds = {step_seed(1, step, rank) for step in range(100) for rank in range(8)}
    assert len(seeds) == 800
    draws = [torch.rand(3, generator=step_generator(1, 5, rank)).tolist() for rank in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]
