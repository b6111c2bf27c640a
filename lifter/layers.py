"""Layers that several architectures share, and the base class of all of them."""

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from stream.errors import ConfigError, ShapeError
from stream.skeletons import Skeleton, skeleton_named

M = TypeVar("M", bound=nn.Module)


class LiftingNetwork(nn.Module):
    """Base of all architectures: the input shape, and whether frames can be encoded one by one.

    shape: (F, J, C), the input of one window.
    """

    shape: tuple[int, int, int]

    @property
    def supports_frame_cache(self) -> bool:
        """Whether `encode_frames` exists: the first layers look at one frame at a time."""
        return False

    def encode_frames(self, x: Tensor) -> Tensor:
        """Features (N, ..., D) of N frames x (N, J, C), each computed without the others."""
        raise NotImplementedError


class DropPath(nn.Module):
    """Drops the whole branch for a random part of the batch while training (stochastic depth)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(1 - self.rate).div_(1 - self.rate)


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of x (N, K, D) (equation 3).

    query_index: (n,) or (N, n), the tokens to compute; None for all K. Returns (N, K or n, D).
    """

    def __init__(self, width: int, heads: int = 8, qkv_bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, query_index: Tensor | None = None) -> Tensor:
        N, K, D = x.shape
        x = x.to(self.qkv.weight.dtype)  # `cast_blocks` may have lowered it below that of the tokens
        if query_index is None:
            q, k, v = self.qkv(x).view(N, K, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        else:
            q = split_heads(self._project(take(x, query_index), 0, D), self.heads)
            k, v = self._project(x, D, 3 * D).view(N, K, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = nn.functional.scaled_dot_product_attention(q, k, v)  # (N, heads, n, D / heads)
        mixed: Tensor = self.dropout(self.proj(x.transpose(1, 2).flatten(2)))
        return mixed

    def attention_received(self, x: Tensor) -> Tensor:
        """Attention (B, K) that each frame of x (B, K, J, D) receives from all frames, mean over joints."""
        B, K, J, _ = x.shape
        x = x.to(self.qkv.weight.dtype)
        q, k, _ = self.qkv(group_by_joint(x)).view(B * J, K, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return attention_received(q, k).view(B, J, K).mean(dim=1)

    def _project(self, x: Tensor, start: int, end: int) -> Tensor:
        """x times rows `start` to `end` of the joint weight matrix of q, k and v."""
        bias = None if self.qkv.bias is None else self.qkv.bias[start:end]
        return nn.functional.linear(x, self.qkv.weight[start:end], bias)


class CrossAttention(nn.Module):
    """Multi-head attention of queries (N, Q, D) to keys and values (N, K, D) (equation 3): (N, Q, D)."""

    def __init__(self, width: int, heads: int = 8, qkv_bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.linear_q = nn.Linear(width, width, bias=qkv_bias)
        self.linear_k = nn.Linear(width, width, bias=qkv_bias)
        self.linear_v = nn.Linear(width, width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = self._project(self.linear_q, q), self._project(self.linear_k, k)
        v = self._project(self.linear_v, v)
        x = nn.functional.scaled_dot_product_attention(q, k, v)  # (N, heads, Q, D / heads)
        mixed: Tensor = self.dropout(self.proj(x.transpose(1, 2).flatten(2)))
        return mixed

    def attention_received(self, q: Tensor, k: Tensor) -> Tensor:
        """Attention (N, K) that each of the tokens k receives from all queries."""
        return attention_received(self._project(self.linear_q, q), self._project(self.linear_k, k))

    def _project(self, linear: nn.Linear, x: Tensor) -> Tensor:
        return split_heads(linear(x.to(self.proj.weight.dtype)), self.heads)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(N, K, D) -> (N, heads, K, D / heads)."""
    return torch.unflatten(x, -1, (heads, -1)).transpose(1, 2)


def attention_received(q: Tensor, k: Tensor) -> Tensor:
    """Attention (N, K) to each key of (N, heads, K, d): sum over the queries, mean over the heads."""
    received: Tensor = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1).sum(dim=-2).mean(dim=1)
    return received


class Mlp(nn.Module):
    """Two linear layers with GELU between them, token by token: (..., D) -> (..., D)."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.fc1.weight.dtype)
        output: Tensor = self.dropout(self.fc2(self.dropout(nn.functional.gelu(self.fc1(x)))))
        return output


class Block(nn.Module):
    """Pre-norm transformer block over the tokens of x (N, K, D).

    query_index: (n,) or (N, n), the tokens to compute; None for all K. Returns (N, K or n, D).
    """

    def __init__(
        self, width: int, heads: int, hidden: int, drop_path: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, query_index: Tensor | None = None) -> Tensor:
        mixed = self.attn(self.norm1(x), query_index)
        x = (x if query_index is None else take(x, query_index)) + self.drop_path(mixed)
        output: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return output

    def attention_received(self, x: Tensor) -> Tensor:
        """Attention (B, K) that each frame of x (B, K, J, D) would receive in this block over time."""
        return self.attn.attention_received(self.norm1(x))


class Mirror(nn.Module):
    """Mirrors (..., J, C) left to right: negates x and swaps left and right joints.

    Applied twice it is the identity.
    """

    flip_indices: Tensor  # (J,) int64

    def __init__(self, skeleton: str = "h36m17") -> None:
        super().__init__()
        indices = torch.tensor(flip_indices(skeleton_named(skeleton)))
        self.register_buffer("flip_indices", indices, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.index_select(-2, self.flip_indices)
        return torch.cat([-x[..., :1], x[..., 1:]], dim=-1)


def flip_indices(skeleton: Skeleton) -> list[int]:
    """For each of J joints, the index of its left or right counterpart, or its own index."""
    counterpart = dict(skeleton.flip_pairs) | {right: left for left, right in skeleton.flip_pairs}
    return [counterpart.get(joint, joint) for joint in range(len(skeleton.joints))]


def fuse_streams(share: nn.Linear, a: Tensor, b: Tensor) -> Tensor:
    """Weighted sum of two streams (B, K, J, D), with weights from `share` (2 D -> 2) per token."""
    weights = share(torch.cat((a, b), dim=-1)).softmax(dim=-1)  # (B, K, J, 2)
    fused: Tensor = a * weights[..., :1] + b * weights[..., 1:]
    return fused


def init_equal_shares(share: nn.Linear) -> None:
    """Make `fuse_streams` start as the plain mean of both streams."""
    nn.init.zeros_(share.weight)
    nn.init.constant_(share.bias, 0.5)


def check_windows(x: Tensor, model: LiftingNetwork) -> None:
    """Raise ShapeError unless x is (B, F, J, C) with the model's (F, J, C), of its weights' dtype, finite."""
    name, (F, J, C) = type(model).__name__, model.shape
    if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[0] == 0 or tuple(x.shape[1:]) != (F, J, C):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x)
        raise ShapeError(f"{name}: expected one or more windows (B, F, J, C) = (B, {F}, {J}, {C}), got {got}")
    dtype = next(model.parameters()).dtype
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise ShapeError(f"{name}: expected {dtype} like its weights, got {x.dtype}")
    # On a GPU this check would make the host wait, and a CUDA graph cannot record it.
    if x.device.type == "cpu" and not torch.compiler.is_compiling() and not x.isfinite().all():
        raise ShapeError(f"{name}: expected finite input, got NaN or infinity")


def check_heads(width: int, heads: int) -> None:
    """Raise ConfigError unless `heads` divides `width`."""
    if heads < 1 or width % heads:
        raise ConfigError(f"heads: expected a divisor of the width {width}, got {heads}")


def module_list(modules: Iterable[M]) -> list[M]:
    """A torch.nn.ModuleList with the type of its items, which torch does not declare."""
    return nn.ModuleList(modules)  # type: ignore[return-value]


def group_by_joint(tokens: Tensor) -> Tensor:
    """(B, K, J, D) -> (B * J, K, D), the layout of temporal attention."""
    return tokens.transpose(1, 2).flatten(0, 1)


def repeat_per_joint(index: Tensor | None, joints: int) -> Tensor | None:
    """An index of frames, (n,) or (B, n), for tokens in `group_by_joint` layout: (n,) or (B * J, n)."""
    return index if index is None or index.ndim == 1 else index.repeat_interleave(joints, dim=0)


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Rates rising linearly from 0 in the first block to `rate` in the last."""
    return [rate * i / max(1, depth - 1) for i in range(depth)]


def take(x: Tensor, index: Tensor) -> Tensor:
    """Frames of x, (B, K, ...) or (K,), at index (n,), or at index (B, n) with one row per window."""
    if index.ndim == 1:
        return x.index_select(min(1, x.ndim - 1), index)
    if x.ndim == 1:
        return x[index]
    return torch.take_along_dim(x, index.reshape(index.shape + (1,) * (x.ndim - 2)), dim=1)
