"""Mixed precision for training on a CPU: bfloat16 where it is quicker there, float32 elsewhere.

Autocast on a CPU also moves attention, norms and activations to bfloat16, which costs more than it brings.
Here only matrix products of linear layers are computed in bfloat16, and attention over few tokens
is written out, which is quicker than the fused kernel for them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SHORT = 32  # tokens up to which attention is quicker written out


class HalfLinear(torch.autograd.Function):
    """A linear layer (N, I) -> (N, O) whose three matrix products run in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        flat, weight = x.flatten(0, -2).bfloat16(), weight.bfloat16()
        ctx.save_for_backward(flat, weight)
        ctx.biased = bias is not None
        y = functional.linear(flat, weight, None if bias is None else bias.bfloat16()).float()
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        flat, weight = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        half = gradient.bfloat16()
        dx = (half @ weight).float().view(*gradients[0].shape[:-1], -1)
        return dx, (half.t() @ flat).float(), gradient.sum(dim=0) if ctx.biased else None


class Half(TorchFunctionMode):
    """While entered, linear layers and attention of float32 tensors on a CPU take the quicker way."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.linear:
            return self._linear(*args, **kwargs)
        if func is functional.scaled_dot_product_attention and not kwargs and args[0].shape[-2] <= _SHORT:
            q, k, v = args
            return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
        return func(*args, **kwargs)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return HalfLinear.apply(x, weight, bias)
