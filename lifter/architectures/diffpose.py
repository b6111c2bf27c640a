"""DiffPose (Gong et al., CVPR 2023), video setting: a graph network denoises a lifted pose.

A frozen MixSTE, plain or pruned, lifts the window. 2D and 3D of every frame together (u, v, x, y, z) are
a noisy sample, which a graph denoiser (`lifter.architectures.graph_denoiser`) makes clean frame by frame.
"""

from typing import Any

import torch
from torch import Tensor

from lifter.architectures.diffusion import (
    add_noise,
    check_recovers_all,
    check_sample_with_level,
    linear_betas,
    random_levels,
    random_like,
    reverse_chain,
    standard_normal,
)
from lifter.architectures.graph_denoiser import GraphDenoiser
from lifter.architectures.mixste import MixSTE
from lifter.layers import LiftingNetwork, Mirror, check_windows
from lifter.spec import Schedule
from stream.errors import ConfigError

LEVELS, BETAS = 51, (1e-4, 1e-3)  # noise levels; noise added at the first and at the last
SPREAD = (0.1, 0.1, 1.0, 1.0, 1.0)  # standard deviation of u, v, x, y, z in pure noise
TRAINING_SPREAD = (0.5, 0.5, 1.0, 1.0, 1.0)  # in training, as released


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
        clean = torch.cat([keypoints, poses - poses[:, :, :1]], dim=-1)
        noise = random_like(clean, generator) * clean.new_tensor(TRAINING_SPREAD)
        count = poses.shape[0] * poses.shape[1]
        level = random_levels(count // 2 + 1, LEVELS, generator, poses.device)
        # Antithetic pairs of levels reduce the variance of the loss.
        level = torch.cat([level, LEVELS - 1 - level])[:count].view(poses.shape[:2])
        return add_noise(clean, noise, self.alpha_bar[level][..., None, None]), level, noise

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error of the noise, summed over a frame's joints and channels, mean over frames."""
        return (output - target).square().sum(dim=(-1, -2)).mean()
