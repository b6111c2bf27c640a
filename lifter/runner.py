"""Computes poses of windows: the `stream.protocols.Lifter` of the live pipeline."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from lifter import normalise
from lifter.engines import choose as engines
from lifter.engines import cuda_graphs, tuned
from lifter.engines.frame_cache import FrameCache
from lifter.h2ot import pipelines
from lifter.h2ot.hourglass import Hourglass
from lifter.layers import LiftingNetwork
from lifter.spec import LifterSpec
from stream.errors import ConfigError, ShapeError
from stream.messages import F32, JointOrigin, Window

log = logging.getLogger("poselift")

# Size of the largest tensor in a part of a batch: glibc returns blocks above 32 MiB to the system each time.
_MAX_TENSOR_BYTES = 26 << 20
_GPU_TENSOR_SHARE = 1 / 16  # of the free memory of a GPU
DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class Runner:
    """A network on a device, with the normalisation of its spec before and after it.

    device: "auto" (a GPU when there is one), "cpu", "cuda" or "cuda:1".
    dtype: number format of the network's matrix products. "tf32" is float32 with shorter factors, on a GPU
    alone: several times the speed, an error of about 1e-3 (the default of torch 1.7, which the paper used).
    threads: CPU threads; None for half of the cores, so that the detector has the others.
    engine: what computes the network (`lifter.engines`); "auto" for the engine that
    `poselift bench --tune` found fastest.

    Raises ConfigError for options this machine does not have.
    """

    def __init__(
        self,
        model: LiftingNetwork,
        spec: LifterSpec,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
        engine: str = "eager",
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"lifter.dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
        if threads is not None and threads < 1:
            raise ConfigError(f"lifter.threads: expected a number from 1, got {threads}")
        if engine != "auto" and engine not in engines.ENGINES:
            choices = ", ".join(("auto", *engines.ENGINES))
            raise ConfigError(f"lifter.engine: expected one of {choices}, got {engine!r}")
        self.spec = spec
        self.device = find_device(device)
        if dtype == "tf32":
            if self.device.type != "cuda":
                raise ConfigError(f"lifter.dtype: tf32 needs a CUDA device, the lifter is on {self.device}")
            torch.set_float32_matmul_precision("high")
        self.model = model.to(self.device).eval()
        threads = threads or max(1, (os.cpu_count() or 2) // 2)
        if self.device.type == "cpu":
            torch.set_num_threads(threads)
        self.max_windows = _windows_per_part(self.model, spec, _max_tensor_bytes(self.device))
        self.engine = self._start(engine, DTYPES[dtype], threads)

    def _start(self, engine: str, dtype: torch.dtype, threads: int) -> str:
        """Start an engine; returns its name, which "auto" leaves open."""
        key = "" if engine == "eager" else tuned.network_key(self.model, self.spec)
        if engine == "auto":
            engine = tuned.fastest_engine(key, self.device, dtype, threads)
        self.network = engines.start(engine, self.model, key, dtype, threads)
        prunes = any(isinstance(module, Hourglass) for module in self.model.modules())
        # Exported and compiled networks always compute all rows.
        self.computes_rows = prunes and self.network is self.model
        self.frame_cache = (
            FrameCache.for_network(self.model, self.spec, self.device) if self.computes_rows else None
        )
        window = (self.spec.frames, self.spec.joints)
        self._graphs = (
            cuda_graphs.record_graphs(self.compute, window, self.device) if engine == "graphs" else None
        )
        return engine

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Lift one empty window, so that lazy initialisation does not delay the first real one."""
        shape = (self.spec.frames, self.spec.joints)
        padded = np.full(shape[0], JointOrigin.PADDED, dtype=np.uint8)
        times = np.zeros(shape[0], dtype=np.int64)
        self.lift([Window(np.zeros((*shape, 3), dtype=np.float32), padded, times, (1000, 1000))])
        if self._graphs is not None:
            try:
                self._graphs.warm_up()
            except cuda_graphs.CaptureFailed as error:
                self._stop_graphs(error)

    @torch.inference_mode()
    def lift(self, windows: Sequence[Window], last: int | None = None) -> F32:
        """Poses (B, F, J, 3) float32 metres, root-relative, camera axes, for B windows of F frames.

        last: return the newest `last` frames alone, (B, last, J, 3), which is less work; None for all.
        A lifter with output "centre" returns (B, 1, J, 3), the middle frame.
        Raises ShapeError for windows of another shape, without an image size or with NaN.
        """
        self._check(windows)
        frames = self.spec.frames
        if last is not None and not 1 <= last <= frames:
            raise ShapeError(f"lift: expected last from 1 to {frames} poses, got {last}")
        rows = None if last is None else slice(frames - last, frames)
        keypoints = torch.from_numpy(np.stack([window.keypoints for window in windows]))
        size_wh = torch.tensor([window.size_wh for window in windows], dtype=torch.float32)
        poses = self._replay(keypoints, size_wh)
        if poses is None:
            sizes = torch.split(size_wh, self.max_windows)
            parts = zip(torch.split(keypoints, self.max_windows), sizes, strict=True)
            poses = torch.cat([self._lift_part(*part, rows) for part in parts])
        if rows is not None and poses.shape[1] > rows.stop - rows.start:
            poses = poses[:, rows]
        return poses.numpy()

    def _replay(self, keypoints: Tensor, size_wh: Tensor) -> Tensor | None:
        """Poses of the CUDA graphs; None without graphs, and from the first failed recording on."""
        if self._graphs is None:
            return None
        try:
            return self._graphs(keypoints, size_wh)
        except cuda_graphs.CaptureFailed as error:
            self._stop_graphs(error)
            return None

    def _stop_graphs(self, error: Exception) -> None:
        log.warning("%s: no CUDA graphs (%s); the lifter runs without them, slower", self.spec.name, error)
        self._graphs = None

    @property
    def replays_graphs(self) -> bool:
        """Whether CUDA graphs compute the poses, from pixels to metres in one piece."""
        return self._graphs is not None

    def _lift_part(self, keypoints: Tensor, size_wh: Tensor, rows: slice | None) -> Tensor:
        keys = self.frame_cache.keys(keypoints, size_wh) if self.frame_cache else None
        return self.compute(keypoints.to(self.device), size_wh.to(self.device), rows, keys).cpu()

    def compute(
        self, keypoints: Tensor, size_wh: Tensor, rows: slice | None = None, keys: list[bytes] | None = None
    ) -> Tensor:
        """Poses in metres on the device; keypoints (B, F, J, 3) px and score, size_wh (B, 2) px, float32.

        Returns `rows` of the window where the network can compute them alone, else all rows.
        keys: of the frame cache, None to compute without it.
        """
        x, context = normalise.encode(keypoints, size_wh, self.spec)
        network: Callable[..., Tensor] = self.network
        if self.frame_cache and keys:
            network = partial(network, cached=self.frame_cache.lookup(x, keys))
        if self.spec.output == "centre":
            centre = slice(self.spec.frames // 2, self.spec.frames // 2 + 1)
            network = partial(network, rows=centre) if self.computes_rows else network
            return normalise.decode(pipelines.seq2frame(network, x).float(), context.select(centre))
        if rows is None or not self.computes_rows or not context.metric:
            return normalise.decode(pipelines.seq2seq(network, x).float(), context)
        return normalise.decode(pipelines.seq2seq(network, x, rows).float(), context.select(rows))

    def _check(self, windows: Sequence[Window]) -> None:
        expected = (self.spec.frames, self.spec.joints, 3)
        if not windows:
            raise ShapeError("lift: expected at least one window, got none")
        for i, window in enumerate(windows):
            if window.keypoints.shape != expected:
                raise ShapeError(
                    f"lift: expected windows (F, J, 3) = {expected} for {self.spec.name}, "
                    f"got {window.keypoints.shape} in window {i}"
                )
            if min(window.size_wh) < 1:
                raise ShapeError(
                    f"lift: expected an image size (w, h) px, got {window.size_wh} in window {i}"
                )
            if not np.isfinite(window.keypoints).all():
                frame, joint, _ = np.argwhere(~np.isfinite(window.keypoints))[0]
                raise ShapeError(
                    f"lift: expected finite keypoints, got NaN or infinity in window {i} at frame {frame}, "
                    f"joint {joint}; give missing joints any position and score 0"
                )


def _max_tensor_bytes(device: torch.device) -> int:
    """Largest tensor of a part of a batch, in bytes."""
    if device.type != "cuda":
        return _MAX_TENSOR_BYTES
    return max(_MAX_TENSOR_BYTES, int(torch.cuda.mem_get_info(device)[0] * _GPU_TENSOR_SHARE))


def _windows_per_part(model: nn.Module, spec: LifterSpec, max_tensor_bytes: int) -> int:
    """Windows per part of a batch, so that the largest tensor stays within `max_tensor_bytes`."""
    widest = max((layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)), default=1)
    return max(1, max_tensor_bytes // (spec.frames * spec.joints * widest * 4))


def find_device(name: str) -> torch.device:
    """The device of this name, "auto" for a GPU when there is one; ConfigError if this machine lacks it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (TypeError, RuntimeError, AssertionError) as error:  # which of them depends on the build of torch
        raise ConfigError(
            f"lifter.device: expected auto, cpu, cuda or cuda:1, got {name!r}; this machine has "
            f"{torch.cuda.device_count()} CUDA devices; try auto"
        ) from error
    return device
