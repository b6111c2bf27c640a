"""Independent implementations of four models in float64, from their papers; attention is softmax(Q K^T) V.

Each is a function of weights under the authors' names, an input (B, F, J, C) and `kept`: the positions
kept among the frames alive at a block, {block: indices}. It returns poses of the frames of the last block.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu

Kept = dict[int, list[int]]


class Weights:
    """A state dict in float64, and its layers by name."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = {name: value.double() for name, value in state.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name]

    def count(self, begin: str) -> int:
        return len({name[len(begin) :].split(".")[0] for name in self.state if name.startswith(begin)})

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self[f"{name}.weight"].flatten(1).T + self.state.get(f"{name}.bias", 0)

    def norm(self, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
        spread = (x.var(dim=-1, unbiased=False, keepdim=True) + eps).sqrt()
        return (x - x.mean(dim=-1, keepdim=True)) / spread * self[f"{name}.weight"] + self[f"{name}.bias"]

    def batch_norm(self, name: str, x: Tensor, dim: int) -> Tensor:
        shape = [-1 if d == dim else 1 for d in range(x.ndim)]
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, gain, bias = (self[f"{name}.{part}"].view(shape) for part in parts)
        return (x - mean) / (var + 1e-5).sqrt() * gain + bias

    def mlp(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.fc2", gelu(self.linear(f"{name}.fc1", x)))

    def attention(self, name: str, x: Tensor, heads: int) -> Tensor:
        """Tokens (..., T, D) attend to one another."""
        return self.linear(f"{name}.proj", attend(*self.linear(f"{name}.qkv", x).chunk(3, dim=-1), heads))

    def block(self, name: str, x: Tensor, heads: int) -> Tensor:
        x = x + self.attention(f"{name}.attn", self.norm(f"{name}.norm1", x), heads)
        return x + self.mlp(f"{name}.mlp", self.norm(f"{name}.norm2", x))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    parts = [
        ((a @ b.mT) / a.shape[-1] ** 0.5).softmax(dim=-1) @ c
        for a, b, c in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True)
    ]
    return torch.cat(parts, dim=-1)


def mixste(w: Weights, x: Tensor, kept: Kept, heads: int = 8) -> Tensor:
    x = w.linear("Spatial_patch_to_embedding", x) + w["Spatial_pos_embed"]
    for i in range(w.count("STEblocks.")):
        x = x[:, kept[i]] if i > 0 and i in kept else x
        x = w.norm("Spatial_norm", w.block(f"STEblocks.{i}", x, heads))
        if i == 0:
            x = x + w["Temporal_pos_embed"][:, :, None]
            x = x[:, kept[0]] if 0 in kept else x
        x = w.norm("Temporal_norm", w.block(f"TTEblocks.{i}", x.transpose(1, 2), heads)).transpose(1, 2)
    return w.linear("head.1", w.norm("head.0", x, 1e-5))


def motionbert(w: Weights, x: Tensor, kept: Kept, heads: int = 8) -> Tensor:
    def over(axis: str, name: str, x: Tensor) -> Tensor:
        """Attention and MLP over joints ("s") or over time ("t")."""
        tokens = x if axis == "s" else x.transpose(1, 2)
        tokens = tokens + w.attention(f"{name}.attn_{axis}", w.norm(f"{name}.norm1_{axis}", tokens), heads)
        tokens = tokens + w.mlp(f"{name}.mlp_{axis}", w.norm(f"{name}.norm2_{axis}", tokens))
        return tokens if axis == "s" else tokens.transpose(1, 2)

    x = w.linear("joints_embed", x) + w["pos_embed"] + w["temp_embed"]
    for i in range(w.count("blocks_st.")):
        x = x[:, kept[i]] if i in kept else x
        st = over("t", f"blocks_st.{i}", over("s", f"blocks_st.{i}", x))
        ts = over("s", f"blocks_ts.{i}", over("t", f"blocks_ts.{i}", x))
        a, b = w.linear(f"ts_attn.{i}", torch.cat([st, ts], dim=-1)).softmax(dim=-1).split(1, dim=-1)
        x = a * st + b * ts
    return w.linear("head", w.linear("pre_logits.fc", w.norm("norm", x)).tanh())


BONES = ((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10))
BONES += ((8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16))


def motionagformer(w: Weights, x: Tensor, kept: Kept, heads: int = 8, neighbours: int = 2) -> Tensor:
    body = torch.zeros(17, 17, dtype=torch.float64)
    for a, b in BONES:
        body[a, b] = body[b, a] = 1
    body[0, 4] = body[8, 11] = body[8, 14] = 0  # as released

    def graph(name: str, x: Tensor, edges: Tensor) -> Tensor:
        degrees = torch.diag_embed(edges.sum(dim=-1) ** -0.5)
        gathered = degrees @ edges @ degrees @ w.linear(f"{name}.V", x) + w.linear(f"{name}.U", x)
        return (x + w.batch_norm(f"{name}.batch_norm", gathered, x.ndim - 2)).clamp(min=0)

    def mixer(name: str, x: Tensor) -> Tensor:
        x = x if "spatial" in name else x.transpose(1, 2)
        y = w.norm(f"{name}.norm1", x, 1e-5)
        if "att" in name:
            y = w.attention(f"{name}.mixer", y, heads)
        else:
            similarity = y @ y.mT
            nearest = similarity >= similarity.topk(neighbours, dim=-1).values[..., -1:]
            y = graph(f"{name}.mixer", y, body if "spatial" in name else nearest.double())
        x = x + w[f"{name}.layer_scale_1"] * y
        x = x + w[f"{name}.layer_scale_2"] * w.mlp(f"{name}.mlp", w.norm(f"{name}.norm2", x, 1e-5))
        return x if "spatial" in name else x.transpose(1, 2)

    x = w.linear("joints_embed", x) + w["pos_embed"]
    for i in range(w.count("layers.")):
        x = x[:, kept[i]] if i in kept else x
        att = mixer(f"layers.{i}.att_temporal", mixer(f"layers.{i}.att_spatial", x))
        gcn = mixer(f"layers.{i}.graph_temporal", mixer(f"layers.{i}.graph_spatial", x))
        a, b = w.linear(f"layers.{i}.fusion", torch.cat([att, gcn], dim=-1)).softmax(dim=-1).split(1, dim=-1)
        x = a * att + b * gcn
    return w.linear("head", w.linear("rep_logit.fc", w.norm("norm", x, 1e-5)).tanh())


def mhformer(w: Weights, x: Tensor, kept: Kept, heads: int = 8) -> Tensor:
    series = x.flatten(2).mT  # (B, J * C, F)
    streams, top = [], "Transformer_hypothesis"
    for n in (1, 2, 3):
        y = w.norm(f"norm_{n}", series, 1e-5) + w[f"Transformer_encoder_{n}.pos_embed"]
        for i in range(4):
            y = w.block(f"Transformer_encoder_{n}.blocks.{i}", y, 9)
        series = series + w.norm(f"Transformer_encoder_{n}.norm", y)
        if f"embedding_{n}.weight" in w.state:
            y = w.linear(f"embedding_{n}", series.mT)
        else:
            y = w.batch_norm(f"embedding_{n}.1", w.linear(f"embedding_{n}.0", series.mT), 2).clamp(min=0)
        streams.append(y + w[f"{top}.pos_embed_{n}"])

    def joint_mlp(name: str) -> list[Tensor]:
        y = torch.cat(streams, dim=-1)
        return list((y + w.mlp(f"{name}.mlp", w.norm(f"{name}.norm2", y))).chunk(3, dim=-1))

    refining = w.count(f"{top}.SHR_blocks.")
    for i in range(refining):
        streams, name = [y[:, kept[i]] if i in kept else y for y in streams], f"{top}.SHR_blocks.{i}"
        for n, y in enumerate(streams):
            streams[n] = y + w.attention(f"{name}.attn_{n + 1}", w.norm(f"{name}.norm1_{n + 1}", y), heads)
        streams = joint_mlp(name)
    streams, name = [y[:, kept[refining]] if refining in kept else y for y in streams], f"{top}.CHI_blocks.0"
    for n, (query, key) in enumerate(((1, 2), (0, 2), (0, 1)), start=1):
        attention = f"{name}.attn_{n}"
        q, k, v = (
            w.linear(f"{attention}.linear_{part}", w.norm(f"{name}.norm3_{n}{order}", streams[of]))
            for part, order, of in (("q", 1, query), ("k", 2, key), ("v", 3, n - 1))
        )
        streams[n - 1] = streams[n - 1] + w.linear(f"{attention}.proj", attend(q, k, v, heads))
    tokens = w.norm(f"{top}.norm", torch.cat(joint_mlp(name), dim=-1))
    return w.linear("regression.1", w.batch_norm("regression.0", tokens, 2)).unflatten(2, (-1, 3))


def interpolated(poses: Tensor, frame_indices: list[int], frames: int) -> Tensor:
    """Poses (B, F, J, 3) of all frames from those at sorted frame indices, coordinate by coordinate."""
    flat = poses.transpose(0, 1).flatten(1).numpy()
    columns = [np.interp(np.arange(frames), frame_indices, column) for column in flat.T]
    return torch.tensor(np.stack(columns)).T.unflatten(1, (len(poses), *poses.shape[2:])).transpose(0, 1)
