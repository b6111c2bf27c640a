"""CUDA graphs: the lifter on a GPU, recorded once per batch size from pixels to metres.

A batch is copied to pinned memory and to the device, the graph is replayed and the poses are copied
back, in order on one stream; the host waits once, for the poses. Batches are padded to the next size
that has a graph. The tests of this file need a GPU; it has not run on one yet.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lifter.spec import MAX_WINDOWS

_cuda: Any = torch.cuda  # its Stream and Event have no annotations

SIZES = tuple(2**n for n in range(MAX_WINDOWS.bit_length()))  # windows per graph: 1, 2, 4, ..., 32
Compute = Callable[[Tensor, Tensor], Tensor]  # keypoints (B, F, J, 3) px, size_wh (B, 2) px -> poses (B, ...)


class CaptureFailed(RuntimeError):
    """A computation cannot be recorded as a CUDA graph on this device."""


class Buckets:
    """Any number of windows, in computations of fixed batch sizes, each made when first needed."""

    def __init__(self, make: Callable[[int], Compute], sizes: tuple[int, ...] = SIZES) -> None:
        self._make = make
        self._sizes = sizes
        self._made: dict[int, Compute] = {}

    def __call__(self, keypoints: Tensor, size_wh: Tensor) -> Tensor:
        """Poses of all windows; a batch is padded to its size by repeating the last window."""
        largest = self._sizes[-1]
        parts = zip(torch.split(keypoints, largest), torch.split(size_wh, largest), strict=True)
        return torch.cat([self._compute_padded(*part) for part in parts])

    def warm_up(self) -> None:
        """Make all sizes, the largest first, so that the others share its memory."""
        for size in reversed(self._sizes):
            self._computation(size)

    def _computation(self, size: int) -> Compute:
        if size not in self._made:
            self._made[size] = self._make(size)
        return self._made[size]

    def _compute_padded(self, keypoints: Tensor, size_wh: Tensor) -> Tensor:
        count = len(keypoints)
        size = next(size for size in self._sizes if size >= count)
        padded = torch.arange(size).clamp(max=count - 1)
        # Cloned, because the next call overwrites the memory of these poses.
        return self._computation(size)(keypoints[padded], size_wh[padded])[:count].clone()


class CudaGraph:
    """A computation for one batch size, recorded once and replayed at every call.

    shape: (B, F, J). stream, pool: shared with the other graphs of the same computation, which share memory
    only if they run on one stream. Raises CaptureFailed.
    """

    def __init__(
        self, compute: Compute, shape: tuple[int, int, int], device: torch.device, stream: Any, pool: Any
    ) -> None:
        size, frames, joints = shape
        self._device = device
        # Recording works with any values; all joints are at one point.
        self._host_keypoints = torch.zeros(size, frames, joints, 3).pin_memory()
        self._host_sizes = torch.full((size, 2), 1000.0).pin_memory()
        self._keypoints = self._host_keypoints.to(device)
        self._sizes = self._host_sizes.to(device)
        self._stream = stream
        self._graph, self._poses = self._record(compute, pool)
        self._host_poses = torch.empty(self._poses.shape, dtype=self._poses.dtype, pin_memory=True)
        self._done = _cuda.Event(blocking=True)  # the waiting thread leaves its core to the detector

    def __call__(self, keypoints: Tensor, size_wh: Tensor) -> Tensor:
        self._host_keypoints.copy_(keypoints)
        self._host_sizes.copy_(size_wh)
        with torch.cuda.stream(self._stream):
            self._keypoints.copy_(self._host_keypoints, non_blocking=True)
            self._sizes.copy_(self._host_sizes, non_blocking=True)
            self._graph.replay()
            self._host_poses.copy_(self._poses, non_blocking=True)
            self._done.record(self._stream)
        self._done.synchronize()
        return self._host_poses

    def _record(self, compute: Compute, pool: Any) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        caller = torch.cuda.current_stream(self._device)
        try:
            return self._capture(compute, pool)
        except RuntimeError as error:  # out of memory, too
            # A capture that fails leaves its own stream current in this thread.
            torch.cuda.set_stream(caller)
            raise CaptureFailed(str(error)) from error

    def _capture(self, compute: Compute, pool: Any) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for _ in range(3):  # libraries select kernels and allocate memory in their first calls
                compute(self._keypoints, self._sizes)
        self._stream.synchronize()
        with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
            poses = compute(self._keypoints, self._sizes)
        return graph, poses


def record_graphs(compute: Compute, window: tuple[int, int], device: torch.device) -> Buckets:
    """Graphs of `compute` for windows of (F, J); a call raises CaptureFailed if recording fails.

    The graphs share memory, because they share a pool and a stream: poses are copied out before the next
    graph runs.
    """
    with torch.cuda.device(device):
        stream, pool = _cuda.Stream(device), torch.cuda.graph_pool_handle()

    def make(size: int) -> Compute:
        with torch.cuda.device(device):
            return CudaGraph(compute, (size, *window), device, stream, pool)

    return Buckets(make)
