"""Windows in, poses out: what the live pipeline holds (stream.protocols.Lifter)."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lifter import cuda, engines, normalise, pipelines, tuned
from lifter.spec import LifterSpec
from stream.errors import ConfigError, ShapeError
from stream.messages import F32, Origin, Window

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
        self.engine = self._start(engine, DTYPES[dtype], threads)

    def _start(self, engine: str, dtype: torch.dtype, threads: int) -> str:
        """The engine started."""
        key = "" if engine == "eager" else tuned.network_key(self.model, self.spec)
        if engine == "auto":
            engine = tuned.choose(key, self.device, dtype, threads)
        self.network = engines.start(engine, self.model, key, dtype, threads)
        window = (self.spec.frames, self.spec.joints)
        self._graphs = cuda.graphs(self.compute, window, self.device) if engine == "graphs" else None
        return engine

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Lift one empty window, so that the first real one is not the slow one."""
        shape = (self.spec.frames, self.spec.joints)
        padded = np.full(shape[0], Origin.PADDED, dtype=np.uint8)
        times = np.zeros(shape[0], dtype=np.int64)
        self.lift([Window(np.zeros((*shape, 3), dtype=np.float32), padded, times, (1000, 1000))])
        if self._graphs is not None:
            self._graphs.warm_up()

    @torch.inference_mode()
    def lift(self, windows: Sequence[Window]) -> F32:
        """Poses (B, F, J, 3) float32 metres, root-relative, camera axes, for B windows of F frames.

        A lifter whose output is "centre" answers (B, 1, J, 3): the frame in the middle.
        """
        self._check(windows)
        keypoints = torch.from_numpy(np.stack([window.keypoints for window in windows]))
        size_wh = torch.tensor([window.size_wh for window in windows], dtype=torch.float32)
        if self._graphs is not None:
            return self._graphs(keypoints, size_wh).numpy()
        return self.compute(keypoints.to(self.device), size_wh.to(self.device)).cpu().numpy()

    def compute(self, keypoints: Tensor, size_wh: Tensor) -> Tensor:
        """From pixels to metres on the device; keypoints (B, F, J, 3), size_wh (B, 2), float32 both."""
        x, context = normalise.encode(keypoints, size_wh, self.spec)
        if self.spec.output == "centre":
            centre = self.spec.frames // 2
            poses = pipelines.seq2frame(self.network, x).float()
            poses = normalise.decode(poses.expand(-1, self.spec.frames, -1, -1), context)
            return poses[:, centre : centre + 1]
        return normalise.decode(pipelines.seq2seq(self.network, x).float(), context)

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
