"""Parts that the architectures share to the letter."""

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from stream.errors import ConfigError, ShapeError
from stream.skeletons import skeleton_named

M = TypeVar("M", bound=nn.Module)


class DropPath(nn.Module):
    """Leaves out the whole branch for a random part of the batch while training (stochastic depth)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(1 - self.rate).div_(1 - self.rate)


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of x (N, K, D) (eq. 3), for all or those at `asked`."""

    def __init__(self, width: int, heads: int = 8, qkv_bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        expect_heads(width, heads)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        N, K, D = x.shape
        x = x.to(self.qkv.weight.dtype)  # which may be lower than that of the tokens
        if asked is None:
            q, k, v = self.qkv(x).view(N, K, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        else:
            q = self._rows(take(x, asked), 0, D).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            k, v = self._rows(x, D, 3 * D).view(N, K, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = nn.functional.scaled_dot_product_attention(q, k, v)  # (N, heads, Q, D / heads)
        return self.dropout(self.proj(x.transpose(1, 2).flatten(2)))

    def received(self, x: Tensor) -> Tensor:
        """How much attention each frame of x (B, K, J, D) gets from all frames, (B, K), mean over joints."""
        B, K, J, _ = x.shape
        x = x.to(self.qkv.weight.dtype)
        q, k, _ = self.qkv(by_joint(x)).view(B * J, K, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return received(q, k).view(B, J, K).mean(dim=1)

    def _rows(self, x: Tensor, start: int, end: int) -> Tensor:
        """What rows start to end of the joint weights of q, k and v make of x."""
        bias = None if self.qkv.bias is None else self.qkv.bias[start:end]
        return nn.functional.linear(x, self.qkv.weight[start:end], bias)


class CrossAttention(nn.Module):
    """Multi-head attention of queries (N, Q, D) to keys and values (N, K, D) (eq. 3)."""

    def __init__(self, width: int, heads: int = 8, qkv_bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        expect_heads(width, heads)
        self.heads = heads
        self.linear_q = nn.Linear(width, width, bias=qkv_bias)
        self.linear_k = nn.Linear(width, width, bias=qkv_bias)
        self.linear_v = nn.Linear(width, width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dtype = self.proj.weight.dtype
        q, k = self._split(self.linear_q(q.to(dtype))), self._split(self.linear_k(k.to(dtype)))
        v = self._split(self.linear_v(v.to(dtype)))
        x = nn.functional.scaled_dot_product_attention(q, k, v)  # (N, heads, Q, D / heads)
        return self.dropout(self.proj(x.transpose(1, 2).flatten(2)))

    def received(self, q: Tensor, k: Tensor) -> Tensor:
        """How much attention each of the tokens k gets from all queries, (N, K)."""
        dtype = self.proj.weight.dtype
        return received(self._split(self.linear_q(q.to(dtype))), self._split(self.linear_k(k.to(dtype))))

    def _split(self, x: Tensor) -> Tensor:
        """(N, K, D) -> (N, heads, K, D / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def received(q: Tensor, k: Tensor) -> Tensor:
    """Attention each key of (N, heads, K, d) gets, (N, K): sum over the queries, mean over the heads."""
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1).sum(dim=-2).mean(dim=1)


class Mlp(nn.Module):
    """Two linear layers with GELU between them, token by token."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.fc1.weight.dtype)
        return self.dropout(self.fc2(self.dropout(nn.functional.gelu(self.fc1(x)))))


class Block(nn.Module):
    """Pre-norm transformer block over the tokens of x (N, K, D), for all or those at `asked`."""

    def __init__(
        self, width: int, heads: int, hidden: int, drop_path: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        mixed = self.attn(self.norm1(x), asked)
        x = (x if asked is None else take(x, asked)) + self.drop_path(mixed)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def received(self, x: Tensor) -> Tensor:
        """How much attention each frame of x (B, K, J, D) would get in this block over time, (B, K)."""
        return self.attn.received(self.norm1(x))


class Mirror(nn.Module):
    """Left and right exchanged in (..., J, C): x negated, joints swapped. Twice is the identity."""

    swapped: Tensor  # (J,) int64

    def __init__(self, skeleton: str = "h36m17") -> None:
        super().__init__()
        joints, pairs = skeleton_named(skeleton).joints, skeleton_named(skeleton).flip_pairs
        partner = dict(pairs) | {right: left for left, right in pairs}
        swapped = torch.tensor([partner.get(joint, joint) for joint in range(len(joints))])
        self.register_buffer("swapped", swapped, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.index_select(-2, self.swapped)
        return torch.cat([-x[..., :1], x[..., 1:]], dim=-1)


def expect_windows(x: Tensor, model: nn.Module) -> None:
    """Raise ShapeError unless x is (B, F, J, C) with the model's (F, J, C), of its weights' dtype, finite."""
    name, (F, J, C) = type(model).__name__, model.shape  # type: ignore[misc]
    if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[0] == 0 or tuple(x.shape[1:]) != (F, J, C):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x)
        raise ShapeError(f"{name}: expected one or more windows (B, F, J, C) = (B, {F}, {J}, {C}), got {got}")
    dtype = next(model.parameters()).dtype
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise ShapeError(f"{name}: expected {dtype} as its weights are, got {x.dtype}")
    # On a GPU the host would have to wait for the answer, and a graph has no place for it.
    if x.device.type == "cpu" and not torch.compiler.is_compiling() and not x.isfinite().all():
        raise ShapeError(f"{name}: expected finite input, got NaN or infinity")


def expect_heads(width: int, heads: int) -> None:
    """Raise ConfigError unless the heads of an attention can share its width."""
    if heads < 1 or width % heads:
        raise ConfigError(f"heads: expected a divisor of the width {width}, got {heads}")


def module_list(modules: Iterable[M]) -> list[M]:
    """A torch.nn.ModuleList, which as such does not say what it holds."""
    return nn.ModuleList(modules)  # type: ignore[return-value]


def by_joint(tokens: Tensor) -> Tensor:
    """(B, K, J, D) -> (B * J, K, D), the layout of temporal attention."""
    return tokens.transpose(1, 2).flatten(0, 1)


def per_joint(index: Tensor | None, joints: int) -> Tensor | None:
    """An index of frames, (r,) or (B, r), for tokens laid out `by_joint`: (r,) or (B * J, r)."""
    return index if index is None or index.ndim == 1 else index.repeat_interleave(joints, dim=0)


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Rates rising from 0 in the first block to `rate` in the last."""
    return [rate * i / max(1, depth - 1) for i in range(depth)]


def take(x: Tensor, index: Tensor) -> Tensor:
    """Frames of x (B, K, ...) or (K,) at index (r,), or at index (B, r) for each window its own."""
    if index.ndim == 1:
        return x.index_select(min(1, x.ndim - 1), index)
    if x.ndim == 1:
        return x[index]
    return torch.take_along_dim(x, index.reshape(index.shape + (1,) * (x.ndim - 2)), dim=1)
