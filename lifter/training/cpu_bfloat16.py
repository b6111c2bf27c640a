"""Mixed precision for training on a CPU: bfloat16 where that is faster, float32 elsewhere.

Autocast on a CPU also moves attention, norms and activations to bfloat16, which is slower overall. Here only
the matrix products of linear layers run in bfloat16, and attention over few tokens is written out, which is
faster than the fused kernel.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MAX_WRITTEN_OUT_TOKENS = 32  # with more tokens the fused attention kernel is faster


class Bfloat16Linear(torch.autograd.Function):
    """A linear layer (..., I) -> (..., O) whose three matrix products run in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        flat, weight = x.flatten(0, -2).bfloat16(), weight.bfloat16()
        ctx.save_for_backward(flat, weight)
        ctx.has_bias = bias is not None
        y = functional.linear(flat, weight, None if bias is None else bias.bfloat16()).float()
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        flat, weight = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        gradient_bfloat16 = gradient.bfloat16()
        dx = (gradient_bfloat16 @ weight).float().view(*gradients[0].shape[:-1], -1)
        return dx, (gradient_bfloat16.t() @ flat).float(), gradient.sum(dim=0) if ctx.has_bias else None


class CpuBfloat16(TorchFunctionMode):
    """A context in which linear layers and attention of float32 CPU tensors use the faster computation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.linear:
            return self._linear(*args, **kwargs)
        attention = func is functional.scaled_dot_product_attention
        if attention and not kwargs and args[0].shape[-2] <= MAX_WRITTEN_OUT_TOKENS:
            q, k, v = args
            return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
        return func(*args, **kwargs)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        apply: Any = Bfloat16Linear.apply
        return cast(Tensor, apply(x, weight, bias))
