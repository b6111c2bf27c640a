"""Linear layers, attention and MLPs computed by oneDNN."""

import torch
from torch import Tensor, nn

from lifter.layers import Attention, Mlp


class _Linear(nn.Linear):
    """A linear layer by oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class _Attention(Attention):
    """Its linear layers are asked as a whole, or for some rows of their weights."""

    def _rows(self, x: Tensor, start: int, end: int) -> Tensor:
        bias = None if self.qkv.bias is None else self.qkv.bias[start:end]
        return torch.ops.mkldnn._linear_pointwise(x, self.qkv.weight[start:end], bias, "none", [], "")


class _Mlp(Mlp):
    """The exact GELU is taken while a product's tiles are still in the cache."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.fc1.weight.dtype)
        x = torch.ops.mkldnn._linear_pointwise(x, self.fc1.weight, self.fc1.bias, "gelu", [], "none")
        return self.fc2(x)


_BY_ONEDNN: dict[type, type] = {nn.Linear: _Linear, Attention: _Attention, Mlp: _Mlp}


def onednn(model: nn.Module) -> nn.Module:
    """The model itself, its linear layers and MLPs now computed by oneDNN; for inference only."""
    for part in model.modules():
        part.__class__ = _BY_ONEDNN.get(type(part), type(part))
    return model
