"""What this machine's matrix products reach, and the memory a process takes: the ceilings of a benchmark."""

import mmap
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

_CPU_SIDE, _GPU_SIDE = 2048, 8192
_MIB = 1 << 20


class Took(NamedTuple):
    """By the clock on the wall, and by the time of processors, all threads of the process together."""

    wall_ms: float
    cpu_ms: float

    def busy_ms(self, device: torch.device) -> float:
        """What it takes where nobody else works: on a CPU the processors' time, shared by the threads."""
        if device.type != "cpu":
            return self.wall_ms
        return min(self.wall_ms, self.cpu_ms / torch.get_num_threads())


class Clock:
    """Wall time in ms, after what was asked of the device is done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now_ms(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() * 1e3

    def took(self, call: Callable[[], object]) -> Took:
        start_ms, start_cpu = self.now_ms(), time.process_time()
        call()
        return Took(self.now_ms() - start_ms, (time.process_time() - start_cpu) * 1e3)


def peaks(clock: Clock, quick: bool = False) -> dict[str, float]:
    """GFLOP/s of one large product by name of what computes it; the best of several tries each."""
    side = 512 if quick else _GPU_SIDE if clock.device.type == "cuda" else _CPU_SIDE
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.rand(side, side, device=clock.device).to(dtype) for _ in range(2))
        found[name] = _gflops(clock, side, lambda a=a, b=b: a @ b)  # type: ignore[misc]
        if clock.device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
            found["float32 by oneDNN"] = _gflops(clock, side, lambda a=a, b=b: _onednn(a, b))  # type: ignore[misc]
    return found


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


def _gflops(clock: Clock, side: int, product: Callable[[], object]) -> float:
    product()
    return 2 * side**3 / min(clock.took(product).busy_ms(clock.device) for _ in range(7)) / 1e6


def memory_mib(device: torch.device) -> dict[str, float]:
    """MiB of this process now and at most, and of the GPU at most where one is used."""
    found = {}
    if sys.platform != "win32":
        import resource

        # Linux counts in KiB, macOS in bytes.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        found["resident_peak"] = most / _MIB
    statm = Path("/proc/self/statm")
    if statm.is_file():
        found["resident"] = int(statm.read_text().split()[1]) * mmap.PAGESIZE / _MIB
    if device.type == "cuda":
        found["gpu_peak"] = torch.cuda.max_memory_allocated(device) / _MIB
    return {name: round(value, 1) for name, value in found.items()}
