"""DiffPose's denoiser: GraFormer, a graph network over the joints of one frame, plus the noise level.

Parameters are named as in the authors' checkpoints. Shapes: N frames, J joints, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifter.architectures.diffusion import sinusoid
from lifter.layers import check_heads, split_heads
from stream.errors import ShapeError
from stream.skeletons import SKELETONS

ORDERS = 3  # Chebyshev polynomials of the Laplacian: degrees 0, 1, 2
GRAPH_DROPOUT, ATTENTION_DROPOUT, SUBLAYER_DROPOUT = 0.1, 0.1, 0.25  # as released


class GraphDenoiser(nn.Module):
    """Estimates the noise in u, v, x, y, z of the joints of one frame: GraFormer plus the noise level."""

    chebyshev: Tensor  # (3, J, J) float32

    def __init__(self, width: int = 96, layers: int = 5, heads: int = 4, channels: int = 5) -> None:
        super().__init__()
        self.width = width
        parents = SKELETONS["h36m17"].parents
        self.shape = (len(parents), channels)
        self.register_buffer("chebyshev", _chebyshev(parents), persistent=False)
        self.gconv_input = ChebConv(channels, width)
        self.atten_layers = nn.ModuleList(AttentionLayer(width, heads, len(parents)) for _ in range(layers))
        self.gconv_layers = nn.ModuleList(GraphLayer(width) for _ in range(layers))
        self.gconv_output = ChebConv(width, channels)
        self.temb = TimeEmbedding(width)

    def forward(self, sample: Tensor, level: Tensor) -> Tensor:
        """Noise (N, J, 5) in sample (N, J, 5) float32 at noise level (N,), in steps of the schedule."""
        J, C = self.shape
        if sample.ndim != 3 or tuple(sample.shape[1:]) != (J, C) or level.shape != sample.shape[:1]:
            raise ShapeError(
                f"DiffPose's denoiser: expected a sample (N, J, C) = (N, {J}, {C}) and levels (N,), "
                f"got {tuple(sample.shape)} and {tuple(level.shape)}"
            )
        time = self.temb(sinusoid(level, self.width).to(sample.dtype))  # (N, 4D)
        x = self.gconv_input(sample, self.chebyshev)  # (N, J, D)
        for attention, graph in zip(self.atten_layers, self.gconv_layers, strict=True):
            x = graph(attention(x), time, self.chebyshev)
        noise: Tensor = self.gconv_output(x, self.chebyshev)  # (N, J, 5)
        return noise


class TimeEmbedding(nn.Module):
    """Turns sinusoids (N, D) of noise levels into (N, 4D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)])

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.dense[1](functional.silu(self.dense[0](x)))
        return embedding


class ChebConv(nn.Module):
    """Graph convolution (N, J, D_in) -> (N, J, D_out), one weight per Chebyshev polynomial."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(ORDERS, 1, width_in, width_out)))
        self.bias = nn.Parameter(torch.zeros(1, 1, width_out))

    def forward(self, x: Tensor, chebyshev: Tensor) -> Tensor:
        mixed = chebyshev.flatten(0, 1) @ x  # (N, 3J, D)
        mixed = torch.unflatten(mixed, 1, (ORDERS, -1)).transpose(1, 2).flatten(2)  # (N, J, 3D)
        return mixed @ self.weight.flatten(0, 2) + self.bias


class GraphLayer(nn.Module):
    """Two graph convolutions with a residual connection; the noise level is added between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gconv1 = nn.ModuleDict({"gconv": ChebConv(width, width)})
        self.gconv2 = nn.ModuleDict({"gconv": ChebConv(width, width)})
        self.temb_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, time: Tensor, chebyshev: Tensor) -> Tensor:
        y = self.gconv1["gconv"](x, chebyshev)  # (N, J, D)
        y = functional.dropout(functional.relu(y), GRAPH_DROPOUT, self.training)
        y = y + self.temb_proj(functional.silu(time))[:, None]
        y = self.gconv2["gconv"](y, chebyshev)
        return x + functional.dropout(functional.relu(y), GRAPH_DROPOUT, self.training)


class AttentionLayer(nn.Module):
    """Self-attention over joints, then two convolutions over a learned graph; both pre-norm."""

    def __init__(self, width: int, heads: int, joints: int) -> None:
        super().__init__()
        self.self_attn = JointAttention(width, heads)
        self.feed_forward = LearnedGraph(width, joints)
        self.sublayer = nn.ModuleList(Residual(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.sublayer[0](x, self.self_attn)
        output: Tensor = self.sublayer[1](x, self.feed_forward)
        return output


class Residual(nn.Module):
    """x + sublayer(norm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = StdNorm(width)

    def forward(self, x: Tensor, sublayer: nn.Module) -> Tensor:
        return x + functional.dropout(sublayer(self.norm(x)), SUBLAYER_DROPOUT, self.training)


class StdNorm(nn.Module):
    """Layer normalisation by the unbiased standard deviation plus epsilon."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(width))
        self.b_2 = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        deviation = x.std(-1, keepdim=True) + 1e-6
        return self.a_2 * (x - x.mean(-1, keepdim=True)) / deviation + self.b_2


class JointAttention(nn.Module):
    """Multi-head self-attention; `linears` are query, key, value and output."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            split_heads(linear(x), self.heads)  # (N, heads, J, D / heads)
            for linear in self.linears[:3]
        )
        dropout = ATTENTION_DROPOUT if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        mixed: Tensor = self.linears[3](y.transpose(1, 2).flatten(2))  # (N, J, D)
        return mixed


class LearnedGraph(nn.Module):
    """Two linear layers, each after mixing the joints by a learned graph that starts as the identity."""

    def __init__(self, width: int, joints: int) -> None:
        super().__init__()
        self.A_hat = nn.Parameter(torch.eye(joints))
        self.gconv1 = nn.ModuleDict({"fc": nn.Linear(width, 2 * width)})
        self.gconv2 = nn.ModuleDict({"fc": nn.Linear(2 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        scale = (self.A_hat.sum(0) + 1e-5) ** -0.5  # (J,)
        graph = scale[:, None] * self.A_hat * scale  # (J, J)
        output: Tensor = self.gconv2["fc"](graph @ functional.relu(self.gconv1["fc"](graph @ x)))
        return output


def _chebyshev(parents: tuple[int, ...]) -> Tensor:
    """Chebyshev polynomials (3, J, J) of the Laplacian of the skeleton's row-normalised graph."""
    identity = torch.eye(len(parents))
    graph = identity.clone()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            graph[joint, parent] = graph[parent, joint] = 1
    graph = graph / graph.sum(1, keepdim=True)
    scale = graph.sum(1) ** -0.5
    laplacian = identity - scale[:, None] * graph * scale
    return torch.stack([identity, laplacian, 2 * laplacian @ laplacian - identity])
