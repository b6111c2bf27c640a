"""Windows in, poses out: what the live pipeline holds (stream.protocols.Lifter)."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lifter import normalise, pipelines
from lifter.spec import LifterSpec
from stream.errors import ConfigError, ShapeError
from stream.messages import F32, Origin, Window

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Runner:
    """A model on a device, with the normalising that its spec asks for.

    device: "auto" (a GPU when there is one), "cpu", "cuda", "cuda:1"; dtype: in which the network
    computes; threads: of the CPU, None for half of the cores, so that the detector beside it can breathe.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: LifterSpec,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"lifter.dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
        if threads is not None and threads < 1:
            raise ConfigError(f"lifter.threads: expected a number from 1, got {threads}")
        self.spec = spec
        self.device = _device(device)
        self._dtype = DTYPES[dtype]
        self.model = model.to(self.device, self._dtype).eval()
        if self.device.type == "cpu":
            torch.set_num_threads(threads or max(1, (os.cpu_count() or 2) // 2))

    def warm_up(self) -> None:
        """Lift one empty window, so that the first real one is not the slow one."""
        shape = (self.spec.frames, self.spec.joints)
        padded = np.full(shape[0], Origin.PADDED, dtype=np.uint8)
        times = np.zeros(shape[0], dtype=np.int64)
        self.lift([Window(np.zeros((*shape, 3), dtype=np.float32), padded, times, (1000, 1000))])

    @torch.inference_mode()
    def lift(self, windows: Sequence[Window]) -> F32:
        """Poses (B, F, J, 3) float32 metres, root-relative, camera axes, for B windows of F frames.

        A lifter whose output is "centre" answers (B, 1, J, 3): the frame in the middle.
        """
        self._check(windows)
        keypoints = torch.from_numpy(np.stack([window.keypoints for window in windows])).to(self.device)
        sizes = [window.size_wh for window in windows]
        size_wh = torch.tensor(sizes, dtype=torch.float32, device=self.device)
        x, context = normalise.encode(keypoints, size_wh, self.spec)
        if self.spec.output == "centre":
            centre = self.spec.frames // 2
            poses = pipelines.seq2frame(self.model, x.to(self._dtype)).float()
            poses = normalise.decode(poses.expand(-1, self.spec.frames, -1, -1), context)
            return poses[:, centre : centre + 1].cpu().numpy()
        poses = pipelines.seq2seq(self.model, x.to(self._dtype)).float()
        return normalise.decode(poses, context).cpu().numpy()

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
