"""Cache of per-frame features (before any temporal mixing), shared by overlapping windows.

Successive windows of a person differ in their newest frames alone. A frame's key is the bytes of the
network's input for it, so it does not matter in which window the frame occurs. A frame whose gaps
were filled differently, that was resampled, or that has another image size has another key.
"""

import numpy as np
import torch
from torch import Tensor

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import LiftingNetwork
from lifter.spec import LifterSpec

CPU_BYTES = 128 << 20  # the windows of two people take 17 MB at width 512 and 2 MB at width 64
GPU_SHARE = 1 / 16  # of the free memory of the GPU


class FrameCache:
    """Keeps `encode_frames` of recent frames in a fixed number of rows; the weights must not change.

    Eviction works in two generations. A lookup puts a frame into the new generation. When all rows are
    taken, the old generation is evicted and the new one becomes old: frames that no window contained
    since the last eviction are dropped.

    model: a network with `supports_frame_cache`. channels: values per joint of its input.
    """

    def __init__(self, model: LiftingNetwork, channels: int, max_bytes: int) -> None:
        self._model, self._channels, self._max_bytes = model, channels, max_bytes
        hourglass = next(module for module in model.modules() if isinstance(module, Hourglass))
        self._input_frames = hourglass.input_frames  # (K,)
        self._input_frames_cpu = self._input_frames.cpu().numpy()
        self._features: Tensor | None = None  # (rows, ...), allocated once the size of a frame is known
        self._new: dict[bytes, int] = {}  # row of each frame looked up since the last eviction
        self._old: dict[bytes, int] = {}  # row of each frame not looked up since then
        self._free: list[int] = []

    @classmethod
    def for_network(
        cls, model: LiftingNetwork, spec: LifterSpec, device: torch.device
    ) -> "FrameCache | None":
        """A cache for a lifter, or None if its frames cannot be encoded one by one.

        In the person convention the input of a frame depends on the frames around it; MotionBERT and
        MHFormer mix time first; D3DP's noise depends on the position in the window.
        """
        supported = isinstance(model, LiftingNetwork) and model.supports_frame_cache
        if spec.normalise not in ("screen", "image") or not supported:
            return None
        if device.type == "cuda":
            return cls(model, spec.in_channels, int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE))
        return cls(model, spec.in_channels, CPU_BYTES)

    @property
    def capacity(self) -> int:
        """Number of frames it can hold; 0 before the first lookup, which determines the size of a frame."""
        return 0 if self._features is None else len(self._features)

    def keys(self, keypoints: Tensor, size_wh: Tensor) -> list[bytes]:
        """Keys of the B * K input frames; keypoints (B, F, J, 3), size_wh (B, 2), float32 on the CPU."""
        inputs = keypoints.numpy()[:, self._input_frames_cpu, :, : self._channels]  # (B, K, J, C)
        B, K = inputs.shape[:2]
        sizes = np.broadcast_to(size_wh.numpy()[:, None], (B, K, 2))
        rows = np.concatenate([inputs.reshape(B, K, -1), sizes], axis=2)
        keys: list[bytes] = rows.view(np.dtype((np.void, rows.shape[2] * 4))).ravel().tolist()  # type: ignore[assignment]
        return keys

    def lookup(self, x: Tensor, keys: list[bytes]) -> Tensor | None:
        """`encode_frames` (B, K, ...) of the input frames of x (B, F, J, C), computed where missing.

        keys: of those frames, from `keys`. None when the cache has too few rows for them.
        """
        positions = {key: position for position, key in enumerate(keys)}
        rows = {key: self._find(key) for key in positions}
        missing = [key for key, row in rows.items() if row is None]
        if missing:
            inputs = x.index_select(1, self._input_frames).flatten(0, 1)  # (B * K, J, C)
            index = _index([positions[key] for key in missing], x.device)
            features = self._model.encode_frames(inputs[index])
            if not self._make_room(len(missing), features):
                return None
            for key in missing:
                rows[key] = self._new[key] = self._free.pop()
            self._features[_index([rows[key] for key in missing], x.device)] = features  # type: ignore[index]
        cached: Tensor = self._features[_index([rows[key] for key in keys], x.device)]  # type: ignore[index]
        return torch.unflatten(cached, 0, (len(x), -1))

    def _find(self, key: bytes) -> int | None:
        """Row of a frame, which then belongs to the new generation; None if it is not cached."""
        row = self._new.get(key)
        if row is None:
            row = self._old.pop(key, None)
            if row is not None:
                self._new[key] = row
        return row

    def _make_room(self, count: int, features: Tensor) -> bool:
        """Whether `count` rows are free, after an eviction if need be; features (n, ...) give their size."""
        if self._features is None:
            capacity = max(0, self._max_bytes // (features[0].numel() * features.itemsize))
            self._features = _allocated(features, capacity)
            self._free = list(reversed(range(len(self._features))))
        if count > len(self._free):
            self._free.extend(self._old.values())
            self._old, self._new = self._new, {}
        return count <= len(self._free)


def _allocated(features: Tensor, rows: int) -> Tensor:
    """Memory for `rows` frames like `features` (n, ...); halved until it fits."""
    while rows:
        try:
            return features.new_empty((rows, *features.shape[1:]))
        except torch.OutOfMemoryError:
            rows //= 2
    return features.new_empty((0, *features.shape[1:]))


def _index(numbers: list[int | None] | list[int], device: torch.device) -> Tensor:
    """Indices on the device, copied without making the host wait."""
    index = torch.tensor(numbers)
    return index if device.type == "cpu" else index.pin_memory().to(device, non_blocking=True)
