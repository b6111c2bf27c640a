"""What the network makes of a frame by itself, remembered from window to window.

Windows of a stream overlap in all but the newest frames. A frame is known by what the network is shown
of it, bit for bit; so it does not matter whose window it comes in, and a frame that was filled in
anew, resampled or seen at another image size is another frame.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.spec import LifterSpec

_CPU_BYTES = 128 << 20  # two persons' windows at width 512 take 17 MB, at width 64 they take 2 MB
_GPU_SHARE = 16  # one part in so many of a GPU's memory


class Memory:
    """Keeps `by_frame` of the frames of all windows lifted lately, in a fixed number of rows.

    When the rows are full, those that no window has asked for since the last time they were full make
    room. The weights must stay as they are.
    """

    def __init__(self, model: nn.Module, channels: int, room_bytes: int) -> None:
        self._model, self._channels, self._room_bytes = model, channels, room_bytes
        self._entering = next(part for part in model.modules() if isinstance(part, Hourglass)).entering
        self._places = self._entering.cpu().numpy()  # (K,)
        self._rows: Tensor | None = None  # (rows, ...), made when it is known what a frame takes
        self._young: dict[bytes, int] = {}  # row of a frame asked for since the rows were full
        self._old: dict[bytes, int] = {}  # row of a frame not asked for since then
        self._free: list[int] = []

    @classmethod
    def of(cls, model: nn.Module, spec: LifterSpec, device: torch.device) -> "Memory | None":
        """A memory for a lifter, or None where no frame can be told by itself.

        The person convention shows a frame differently as others come and go; MotionBERT and MHFormer look
        at time first, and D3DP at noise.
        """
        if spec.normalise not in ("screen", "image") or not getattr(model, "remembers", False):
            return None
        if device.type == "cuda":
            return cls(model, spec.in_channels, torch.cuda.mem_get_info(device)[1] // _GPU_SHARE)
        return cls(model, spec.in_channels, _CPU_BYTES)

    def keys(self, keypoints: Tensor, size_wh: Tensor) -> list[bytes]:
        """What tells the B * K frames that enter apart; keypoints (B, F, J, 3), size_wh (B, 2) on the CPU."""
        seen = keypoints.numpy()[:, self._places, :, : self._channels]  # (B, K, J, C)
        B, K = seen.shape[:2]
        sizes = np.broadcast_to(size_wh.numpy()[:, None], (B, K, 2))
        rows = np.concatenate([seen.reshape(B, K, -1), sizes], axis=2)
        keys: list[bytes] = rows.view(np.dtype((np.void, rows.shape[2] * 4))).ravel().tolist()  # type: ignore[assignment]
        return keys

    def recall(self, x: Tensor, keys: list[bytes]) -> Tensor | None:
        """`by_frame` (B, K, ...) of the frames of x (B, F, J, C) that enter, known by `keys`.

        None when there is no room for so many.
        """
        where = {key: position for position, key in enumerate(keys)}
        rows = {key: self._find(key) for key in where}
        new = [key for key, row in rows.items() if row is None]
        if new:
            seen = x.index_select(1, self._entering).flatten(0, 1)  # (B * K, J, C)
            told = self._model.by_frame(seen[_tensor([where[key] for key in new], x.device)])  # type: ignore[operator]
            if not self._make_room(len(new), told):
                return None
            for key in new:
                rows[key] = self._young[key] = self._free.pop()
            self._rows[_tensor([rows[key] for key in new], x.device)] = told  # type: ignore[index]
        known = self._rows[_tensor([rows[key] for key in keys], x.device)]  # type: ignore[index]
        return known.unflatten(0, (len(x), -1))

    def _find(self, key: bytes) -> int | None:
        row = self._young.get(key)
        if row is None:
            row = self._old.pop(key, None)
            if row is not None:
                self._young[key] = row
        return row

    def _make_room(self, number: int, told: Tensor) -> bool:
        """Whether there are `number` free rows, after forgetting where it must be."""
        if self._rows is None:
            count = max(0, self._room_bytes // (told[0].numel() * told.itemsize))
            self._rows = told.new_empty((count, *told.shape[1:]))
            self._free = list(reversed(range(count)))
        if number > len(self._free):
            self._free.extend(self._old.values())
            self._old, self._young = self._young, {}
        return number <= len(self._free)


def _tensor(numbers: list[int | None] | list[int], device: torch.device) -> Tensor:
    """Indices on the device, which the host does not wait for."""
    index = torch.tensor(numbers)
    return index if device.type == "cpu" else index.pin_memory().to(device, non_blocking=True)
