"""Fill the missing joints of windows as live windows are filled, on torch tensors.

`stream.windows.fill_gaps` does the same for one window in numpy. Training fills batches of windows on
torch, where a loop over windows would take longer than the training step; a test compares both.
"""

import torch
from torch import Tensor


def fill_missing_joints(xy: Tensor, visible: Tensor) -> Tensor:
    """Fill the joints of xy (B, F, J, 2) px that are not `visible` (B, F, J) bool.

    Joints are interpolated in time, and held before the first and after the last frame that shows them.
    Joints that no frame shows are put at the mean of the visible joints of each frame.
    """
    frames = xy.shape[1]
    time = torch.arange(frames)[None, :, None].expand(visible.shape)
    before = torch.where(visible, time, -1).cummax(dim=1).values
    after = torch.where(visible, time, frames).flip(1).cummin(dim=1).values.flip(1)
    low = torch.where(before < 0, after, before).clamp(max=frames - 1)
    high = torch.where(after >= frames, before, after).clamp(min=0)
    share = ((time - low) / (high - low).clamp(min=1)).clamp(0, 1)[..., None]
    index = torch.stack([low, high])[..., None].expand(2, *xy.shape)
    filled = torch.lerp(xy.gather(1, index[0]), xy.gather(1, index[1]), share)
    weight = visible.float()[..., None]
    mean = (xy * weight).sum(dim=2, keepdim=True) / weight.sum(dim=2, keepdim=True).clamp(min=1)
    return torch.where(visible.any(dim=1, keepdim=True)[..., None], filled, mean.expand(xy.shape))
