"""Measure the speed of a device's matrix products, the ceiling of a lifter's speed, and the memory in use."""

import mmap
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lifter.bench.timing import DeviceTimer

_CPU_SIDE, _GPU_SIDE = 2048, 8192
_MIB = 1 << 20


def peak_gflops(timer: DeviceTimer, quick: bool = False) -> dict[str, float]:
    """GFLOP/s of one large matrix product by number format and library: the best of several runs each."""
    side = 512 if quick else _GPU_SIDE if timer.device.type == "cuda" else _CPU_SIDE
    speeds = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.rand(side, side, device=timer.device).to(dtype) for _ in range(2))
        speeds[name] = _gflops(timer, side, lambda a=a, b=b: a @ b)  # type: ignore[misc]
        if timer.device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
            speeds["float32 by oneDNN"] = _gflops(timer, side, lambda a=a, b=b: _onednn(a, b))  # type: ignore[misc]
    return speeds


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return product


def _gflops(timer: DeviceTimer, side: int, product: Callable[[], object]) -> float:
    product()
    return 2 * side**3 / min(timer.measure(product).busy_ms(timer.device) for _ in range(7)) / 1e6


def memory_mib(device: torch.device) -> dict[str, float]:
    """MiB of this process, now and at its peak, and the peak on the GPU if the device is one."""
    memory = {}
    if sys.platform != "win32":
        import resource

        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        memory["resident_peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB
    statm = Path("/proc/self/statm")
    if statm.is_file():
        memory["resident"] = int(statm.read_text().split()[1]) * mmap.PAGESIZE / _MIB
    if device.type == "cuda":
        memory["gpu_peak"] = torch.cuda.max_memory_allocated(device) / _MIB
    return {name: round(value, 1) for name, value in memory.items()}
