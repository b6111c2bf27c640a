"""Linear layers, attention and MLPs computed by oneDNN.

oneDNN prepares a kernel for every layer and shape of batch, and keeps the 1024 newest of about 0.5 MB each.
People who come and go change the shape all the time, so that memory would grow for hours; KEPT_KERNELS
bounds it. Preparing one again takes less than a millisecond.
"""

import os

import torch
from torch import Tensor, nn

from lifter.layers import Attention, Mlp

KEPT_KERNELS = 64
for _variable in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):  # read before the first kernel
    os.environ.setdefault(_variable, str(KEPT_KERNELS))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    """x (..., D_in) times weight (D_out, D_in) plus bias; activation "gelu" is fused into the product."""
    approximation = "none" if activation == "gelu" else ""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], approximation)
    return product


class _OneDnnLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return _linear(x, self.weight, self.bias)


class _OneDnnAttention(Attention):
    def _project(self, x: Tensor, start: int, end: int) -> Tensor:
        bias = None if self.qkv.bias is None else self.qkv.bias[start:end]
        return _linear(x, self.qkv.weight[start:end], bias)


class _OneDnnMlp(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        hidden = _linear(x.to(self.fc1.weight.dtype), self.fc1.weight, self.fc1.bias, "gelu")
        output: Tensor = self.fc2(hidden)
        return output


_REPLACEMENTS: dict[type, type] = {nn.Linear: _OneDnnLinear, Attention: _OneDnnAttention, Mlp: _OneDnnMlp}


def onednn(model: nn.Module) -> nn.Module:
    """The model itself, changed so that oneDNN computes its linear layers and MLPs; for inference only."""
    for module in model.modules():
        module.__class__ = _REPLACEMENTS.get(type(module), type(module))
    return model
