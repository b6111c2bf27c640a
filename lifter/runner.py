"""Windows in, poses out: what the live pipeline holds (stream.protocols.Lifter)."""

import os
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from lifter import normalise
from lifter.engines import choose as engines
from lifter.engines import cuda_graphs as cuda
from lifter.engines import tuned
from lifter.engines.frame_cache import Memory
from lifter.h2ot import pipelines
from lifter.h2ot.hourglass import Hourglass
from lifter.spec import LifterSpec
from stream.errors import ConfigError, ShapeError
from stream.messages import F32, JointOrigin, Window

_BYTES_AT_ONCE = 26 << 20  # of the largest tensor; above 32 MiB, memory is got from the system every time
_ALL = 1 << 20
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Runner:
    """A model on a device, with the normalising that its spec asks for.

    device: "auto" (a GPU when there is one), "cpu", "cuda", "cuda:1"; dtype: in which the network
    computes; threads: of the CPU, None for half of the cores, so that the detector beside it can breathe.
    engine: what computes it (`lifter.engines`), "auto" for the one `poselift bench --tune` found fastest.
    """

    def __init__(
        self,
        model: nn.Module,
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
            known = ", ".join(("auto", *engines.ENGINES))
            raise ConfigError(f"lifter.engine: expected one of {known}, got {engine!r}")
        self.spec = spec
        self.device = _device(device)
        self.model = model.to(self.device).eval()
        threads = threads or max(1, (os.cpu_count() or 2) // 2)
        if self.device.type == "cpu":
            torch.set_num_threads(threads)
        self._at_once = _most_windows(self.model, spec) if self.device.type == "cpu" else _ALL
        self.engine = self._start(engine, DTYPES[dtype], threads)

    def _start(self, engine: str, dtype: torch.dtype, threads: int) -> str:
        """The engine started."""
        key = "" if engine == "eager" else tuned.network_key(self.model, self.spec)
        if engine == "auto":
            engine = tuned.choose(key, self.device, dtype, threads)
        self.network = engines.start(engine, self.model, key, dtype, threads)
        prunes = any(isinstance(part, Hourglass) for part in self.model.modules())
        # What is exported or recorded answers for all rows.
        self._asks = prunes and self.network is self.model
        self.memory = Memory.of(self.model, self.spec, self.device) if self._asks else None
        window = (self.spec.frames, self.spec.joints)
        self._graphs = cuda.graphs(self.compute, window, self.device) if engine == "graphs" else None
        return engine

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Lift one empty window, so that the first real one is not the slow one."""
        shape = (self.spec.frames, self.spec.joints)
        padded = np.full(shape[0], JointOrigin.PADDED, dtype=np.uint8)
        times = np.zeros(shape[0], dtype=np.int64)
        self.lift([Window(np.zeros((*shape, 3), dtype=np.float32), padded, times, (1000, 1000))])
        if self._graphs is not None:
            self._graphs.warm_up()

    @torch.inference_mode()
    def lift(self, windows: Sequence[Window], last: int | None = None) -> F32:
        """Poses (B, F, J, 3) float32 metres, root-relative, camera axes, for B windows of F frames.

        last: only those of so many newest frames, for less work: (B, last, J, 3). A lifter whose output
        is "centre" answers (B, 1, J, 3): the frame in the middle.
        """
        self._check(windows)
        frames = self.spec.frames
        if last is not None and not 1 <= last <= frames:
            raise ShapeError(f"lift: expected to be asked for the last 1 to {frames} poses, got {last}")
        rows = None if last is None else slice(frames - last, frames)
        keypoints = torch.from_numpy(np.stack([window.keypoints for window in windows]))
        size_wh = torch.tensor([window.size_wh for window in windows], dtype=torch.float32)
        if self._graphs is not None:
            poses = self._graphs(keypoints, size_wh)
        else:
            parts = zip(keypoints.split(self._at_once), size_wh.split(self._at_once), strict=True)
            poses = torch.cat([self._part(*part, rows) for part in parts])
        return (poses if rows is None or poses.shape[1] <= rows.stop - rows.start else poses[:, rows]).numpy()

    def _part(self, keypoints: Tensor, size_wh: Tensor, rows: slice | None) -> Tensor:
        keys = self.memory.keys(keypoints, size_wh) if self.memory else None
        return self.compute(keypoints.to(self.device), size_wh.to(self.device), rows, keys).cpu()

    def compute(
        self, keypoints: Tensor, size_wh: Tensor, rows: slice | None = None, keys: list[bytes] | None = None
    ) -> Tensor:
        """From pixels to metres on the device; keypoints (B, F, J, 3), size_wh (B, 2), float32 both.

        Answers for `rows` of the window where that is less work, else for all. keys: of the memory.
        """
        x, context = normalise.encode(keypoints, size_wh, self.spec)
        network: Callable[..., Tensor] = self.network
        if self.memory and keys:
            network = partial(network, known=self.memory.recall(x, keys))
        if self.spec.output == "centre":
            centre = slice(self.spec.frames // 2, self.spec.frames // 2 + 1)
            network = partial(network, asked=centre) if self._asks else network
            return normalise.decode(pipelines.seq2frame(network, x).float(), context.of(centre))
        if rows is None or not self._asks or not context.metric:
            return normalise.decode(pipelines.seq2seq(network, x).float(), context)
        return normalise.decode(pipelines.seq2seq(network, x, rows).float(), context.of(rows))

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
                    f"joint {joint}; give joints that were not seen a place and score 0"
                )


def _most_windows(model: nn.Module, spec: LifterSpec) -> int:
    """How many windows a processor's caches and the system's allocator take in their stride."""
    widest = max((part.out_features for part in model.modules() if isinstance(part, nn.Linear)), default=1)
    return max(1, _BYTES_AT_ONCE // (spec.frames * spec.joints * widest * 4))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (TypeError, RuntimeError, AssertionError) as error:  # all three, as the build of torch has it
        raise ConfigError(
            f"lifter.device: expected auto, cpu, cuda or cuda:1, got {name!r}; there are "
            f"{torch.cuda.device_count()} CUDA devices here; try auto"
        ) from error
    return device
