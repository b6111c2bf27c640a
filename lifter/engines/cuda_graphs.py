"""The lifter on a GPU: one recorded graph per size of batch, from pixels to metres. Not run yet on any GPU.

A batch goes into pinned memory, is copied to the device, replayed and copied back, all in order on one
stream; the host waits once, for the poses. Batches are filled up to the next size that has a graph.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger("poselift")

SIZES = (1, 2, 4, 8, 16, 32, 64)  # windows
Compute = Callable[[Tensor, Tensor], Tensor]  # keypoints (B, F, J, 3) px, size_wh (B, 2) px -> poses (B, ...)


class Buckets:
    """Any number of windows through computations of fixed sizes, each made when it is first needed."""

    def __init__(self, make: Callable[[int], Compute], sizes: tuple[int, ...] = SIZES) -> None:
        self._make = make
        self._sizes = sizes
        self._made: dict[int, Compute] = {}

    def __call__(self, keypoints: Tensor, size_wh: Tensor) -> Tensor:
        """Poses of all windows; what a batch lacks to its size is filled with its last window."""
        largest = self._sizes[-1]
        parts = zip(keypoints.split(largest), size_wh.split(largest), strict=True)
        return torch.cat([self._part(*part) for part in parts])

    def warm_up(self) -> None:
        """Make all sizes, the largest first: the others find their memory in its."""
        for size in reversed(self._sizes):
            self._computation(size)

    def _computation(self, size: int) -> Compute:
        if size not in self._made:
            self._made[size] = self._make(size)
        return self._made[size]

    def _part(self, keypoints: Tensor, size_wh: Tensor) -> Tensor:
        number = len(keypoints)
        size = next(size for size in self._sizes if size >= number)
        fill = torch.arange(size).clamp(max=number - 1)
        # The answer lies in memory that the next call writes to.
        return self._computation(size)(keypoints[fill], size_wh[fill])[:number].clone()


class Graph:
    """One computation for batches of one size, recorded once and replayed."""

    def __init__(
        self, compute: Compute, shape: tuple[int, int, int], device: torch.device, pool: Any
    ) -> None:
        size, frames, joints = shape
        self._device = device
        # A window with every joint in one place is as good as any to record with.
        self._host_keypoints = torch.zeros(size, frames, joints, 3).pin_memory()
        self._host_sizes = torch.full((size, 2), 1000.0).pin_memory()
        self._keypoints = self._host_keypoints.to(device)
        self._sizes = self._host_sizes.to(device)
        self._stream = torch.cuda.Stream(device)
        self._graph, self._poses = self._record(compute, pool)
        self._answer = torch.empty(self._poses.shape, dtype=self._poses.dtype, pin_memory=True)
        self._done = torch.cuda.Event()

    def __call__(self, keypoints: Tensor, size_wh: Tensor) -> Tensor:
        self._host_keypoints.copy_(keypoints)
        self._host_sizes.copy_(size_wh)
        with torch.cuda.stream(self._stream):
            self._keypoints.copy_(self._host_keypoints, non_blocking=True)
            self._sizes.copy_(self._host_sizes, non_blocking=True)
            self._graph.replay()
            self._answer.copy_(self._poses, non_blocking=True)
            self._done.record(self._stream)
        self._done.synchronize()
        return self._answer

    def _record(self, compute: Compute, pool: Any) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for _ in range(3):  # libraries choose their kernels and take their memory before recording
                compute(self._keypoints, self._sizes)
        self._stream.synchronize()
        with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
            poses = compute(self._keypoints, self._sizes)
        return graph, poses


def graphs(compute: Compute, window: tuple[int, int], device: torch.device) -> Buckets:
    """Graphs of `compute` for windows of (F, J); a computation that cannot be recorded is run as it is.

    They share their memory: each answer is copied away before another graph runs.
    """
    pool = torch.cuda.graph_pool_handle()

    def make(size: int) -> Compute:
        try:
            with torch.cuda.device(device):
                return Graph(compute, (size, *window), device, pool)
        except RuntimeError as error:
            log.warning("no CUDA graph for %d windows (%s); slower without", size, error)
            return lambda keypoints, size_wh: compute(keypoints.to(device), size_wh.to(device)).cpu()

    return Buckets(make)
