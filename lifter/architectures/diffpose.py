"""DiffPose (Gong et al., CVPR 2023), video setting: a graph network denoises a lifted pose.

A frozen MixSTE, plain or pruned, lifts the window. 2D and 3D of every frame together (u, v, x, y, z) are
a noisy sample, which a graph denoiser makes clean frame by frame. The parameters of `GraphDenoiser` are
named as in the authors' checkpoints.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifter.architectures.diffusion import (
    add_noise,
    check_recovers_all,
    check_sample_with_level,
    linear_betas,
    reverse_chain,
    sinusoid,
    standard_normal,
)
from lifter.architectures.mixste import MixSTE
from lifter.layers import LiftingNetwork, Mirror, check_heads, check_windows, split_heads
from lifter.spec import Schedule
from stream.errors import ConfigError, ShapeError
from stream.skeletons import SKELETONS

LEVELS, BETAS = 51, (1e-4, 1e-3)  # noise levels; noise added at the first and at the last
SPREAD = (0.1, 0.1, 1.0, 1.0, 1.0)  # standard deviation of u, v, x, y, z in pure noise
ORDERS = 3  # Chebyshev polynomials of the Laplacian: degrees 0, 1, 2
GRAPH_DROPOUT, ATTENTION_DROPOUT, SUBLAYER_DROPOUT = 0.1, 0.1, 0.25  # as released


class DiffPose(LiftingNetwork):
    """Lifts keypoints (B, F, J, 2) float32 to root-relative poses (B, F, J, 3) float32 in metres.

    `pose` is the frozen MixSTE, `denoiser` the graph network.
    graph: arguments of `GraphDenoiser`.
    hypotheses H: 1 starts from the lifted pose itself, as released; several are drawn around it with
    standard deviation `SPREAD` and averaged.
    steps, start: the reverse chain takes `steps` evenly spaced levels below level `start`.
    flip: average the lifted pose with its mirror image.
    seed: of the noise, which is the same for every window. backbone: further arguments of MixSTE.
    """

    supports_frame_cache = True  # that of its MixSTE
    noise: Tensor  # (H, F, J, 5) float32
    alpha_bar: Tensor  # (LEVELS,) float32
    spread: Tensor  # (5,) float32

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        in_channels: int = 2,
        schedule: Schedule | None = None,
        graph: dict[str, int] | None = None,
        hypotheses: int = 1,
        steps: int = 1,
        start: int = 6,
        flip: bool = True,
        seed: int = 0,
        **backbone: Any,
    ) -> None:
        super().__init__()
        if in_channels != 2:
            raise ConfigError(f"diffpose: expected in_channels 2, x and y, got {in_channels}")
        check_recovers_all("DiffPose", schedule)
        if not (hypotheses >= 1 and 1 <= steps <= start <= LEVELS):
            raise ConfigError(
                f"diffpose: expected hypotheses >= 1 and 1 <= steps <= start <= {LEVELS}, "
                f"got {hypotheses}, {steps}, {start}"
            )
        self.shape = (frames, joints, in_channels)
        self.pose = MixSTE(frames, joints, in_channels, schedule=schedule, **backbone)
        self.pose.requires_grad_(False)
        self.denoiser = GraphDenoiser(**graph or {})
        self.hypotheses, self.flip, self.mirror = hypotheses, flip, Mirror()
        betas = linear_betas(*BETAS, LEVELS).float()  # as released: alpha-bar is a float32 product
        falling_levels = [step * start // steps for step in reversed(range(steps))]
        self.chain = reverse_chain(betas, falling_levels, eta=0.0)
        noise = standard_normal(hypotheses, frames, joints, 5, seed=seed)
        self.register_buffer("noise", noise, persistent=False)
        self.register_buffer("alpha_bar", torch.cumprod(1 - betas, dim=0), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD), persistent=False)

    def forward(
        self,
        keypoints: Tensor,
        noisy: Tensor | None = None,
        level: Tensor | None = None,
        rows: slice | None = None,
        cached: Tensor | None = None,
    ) -> Tensor:
        """Poses (B, F, J, 3), or of `rows` alone: the mean of all hypotheses.

        cached: `encode_frames` of the MixSTE's input frames.
        With a noisy sample (B, F, J, 5) at level (B, F) int64, for training: the noise (B, F, J, 5)
        that the denoiser estimates in it.
        """
        check_sample_with_level("DiffPose", noisy, level)
        if noisy is not None and level is not None:
            noise: Tensor = self.denoiser(noisy.flatten(0, 1), level.flatten())
            return noise.view_as(noisy)
        check_windows(keypoints, self)
        lifted = self.lift(keypoints, rows, cached)
        part = rows or slice(None)  # the denoiser treats every frame alone
        return self.refine(torch.cat([keypoints[:, part], lifted], dim=-1), part)

    def encode_frames(self, x: Tensor) -> Tensor:
        """The MixSTE's tokens (..., 1 or 2, J, D) of x (..., J, C), frame by frame; 2 with `flip`."""
        return torch.stack([self.pose.encode_frames(view) for view in self._views(x)], dim=-3)

    def lift(self, keypoints: Tensor, rows: slice | None = None, cached: Tensor | None = None) -> Tensor:
        """Poses (B, F, J, 3) of the frozen MixSTE, or of `rows` alone."""
        views = self._views(keypoints)
        tokens = [None] * len(views) if cached is None else cached.unbind(dim=2)
        poses: list[Tensor] = [
            self.pose(view, rows, features) for view, features in zip(views, tokens, strict=True)
        ]
        if not self.flip:
            return poses[0]
        average: Tensor = (poses[0] + self.mirror(poses[1])) / 2
        return average

    def _views(self, x: Tensor) -> list[Tensor]:
        """The inputs of the MixSTE: x, and with `flip` its mirror image."""
        return [x, self.mirror(x)] if self.flip else [x]

    def refine(self, lifted: Tensor, rows: slice = slice(None)) -> Tensor:
        """Poses (B, R, J, 3) by the reverse chain, from u, v, x, y, z (B, R, J, 5) of the R `rows`."""
        sample = lifted[:, None]  # (B, H, R, J, 5)
        if self.hypotheses > 1:
            noise = self.noise[:, rows].expand(lifted.shape[0], -1, -1, -1, -1)
            sample = self.chain[0].signal * sample + self.chain[0].noise * self.spread * noise
        shape, sample = sample.shape, sample.flatten(0, 2)  # (B * H * R, J, 5)
        for step in self.chain:
            noise = self.denoiser(sample, torch.full(sample.shape[:1], step.level, device=sample.device))
            sample = step.advance(step.clean_from_noise(sample, noise), noise, None)
        poses = sample.view(shape)[..., 2:].mean(dim=1)
        return poses - poses[:, :, :1]

    def corrupt(
        self, keypoints: Tensor, poses: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Training inputs and target: noisy sample (B, F, J, 5), levels (B, F), noise (B, F, J, 5)."""
        device = poses.device if generator is None else generator.device
        clean = torch.cat([keypoints, poses - poses[:, :, :1]], dim=-1)
        noise = torch.randn(clean.shape, generator=generator, device=device).to(clean) * self.spread
        count = poses.shape[0] * poses.shape[1]
        level = torch.randint(LEVELS, (count // 2 + 1,), generator=generator, device=device)
        # Antithetic pairs of levels reduce the variance of the loss.
        level = torch.cat([level, LEVELS - 1 - level])[:count].view(poses.shape[:2]).to(poses.device)
        return add_noise(clean, noise, self.alpha_bar[level][..., None, None]), level, noise

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error of the noise, summed over a frame's joints and channels, mean over frames."""
        return (output - target).square().sum(dim=(-1, -2)).mean()


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
