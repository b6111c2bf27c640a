"""D3DP (Shan et al., ICCV 2023): several hypotheses of a pose sequence, each denoised step by step.

The denoiser is MixSTE, plain or pruned, with two more inputs: a noisy 3D pose and its noise level. Its
output is the clean pose. Sampling starts from H noises and takes K steps; the H hypotheses are averaged,
or selected joint by joint when the camera is known (`lifter.architectures.d3dp_aggregate`). Names follow
the released state dicts: `pose_estimator` and twelve buffers of the noise schedule.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lifter.architectures.diffusion import (
    add_noise,
    check_recovers_all,
    check_sample_with_level,
    cosine_betas,
    random_levels,
    random_like,
    reverse_chain,
    sinusoid,
    standard_normal,
)
from lifter.architectures.mixste import MixSTE
from lifter.layers import LiftingNetwork, Mirror, check_windows, take
from lifter.spec import Schedule
from stream.errors import ConfigError, ShapeError

MAX_ABS_M = 1.1  # clean and noisy poses are clamped to +- this many metres
ETA = 1.0  # as released: every step adds as much fresh noise as the forward process would


class Denoiser(MixSTE):
    """MixSTE that also reads noisy poses and their noise level."""

    supports_frame_cache = False  # the noise belongs to a position in the window, not to a frame

    def __init__(self, in_channels: int, width: int = 512, **settings: Any) -> None:
        super().__init__(in_channels=in_channels + 3, width=width, **settings)
        # Index 0 stands for the sinusoid, which needs float32 at any precision.
        self.time_mlp = nn.Sequential(
            nn.Identity(), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def denoise(self, keypoints: Tensor, noisy: Tensor, level: Tensor, rows: slice | None = None) -> Tensor:
        """Clean poses (B, H, F, J, 3) from keypoints (B, F, J, C), noisy (B, H, F, J, 3), level (B,).

        rows: the part of the window to return, None for all. Raises ShapeError for other shapes.
        """
        (F, J, _), B = self.shape, keypoints.shape[0]
        if noisy.ndim != 5 or (noisy.shape[0], *noisy.shape[2:]) != (B, F, J, 3) or level.shape != (B,):
            raise ShapeError(
                f"D3DP: expected noisy poses (B, H, F, J, 3) = ({B}, H, {F}, {J}, 3) and levels ({B},), "
                f"got {tuple(noisy.shape)} and {tuple(level.shape)}"
            )
        H = noisy.shape[1]
        repeated = keypoints[:, None].expand(-1, H, -1, -1, -1)  # (B, H, F, J, C)
        x = torch.cat([repeated, noisy], dim=-1).flatten(0, 1)  # (B * H, F, J, C + 3)
        time = self.time_mlp(sinusoid(level, self.Spatial_pos_embed.shape[-1]).to(x.dtype))  # (B, D)
        time = time[:, None].expand(-1, H, -1).flatten(0, 1)  # (B * H, D)
        tokens = self.encode_frames(take(x, self.hourglass.input_frames), time[:, None, None])
        poses: Tensor = self(x, rows, tokens)
        return torch.unflatten(poses, 0, (B, H))


class D3DP(LiftingNetwork):
    """Lifts keypoints (B, F, J, 2) float32 to root-relative poses (B, F, J, 3) float32 in metres.

    hypotheses H, steps K: more of them cost time and reduce the error.
    levels: number of noise levels. flip: average every step with its mirror image.
    seed: of the noise, which is the same for every window, so results repeat to the bit.
    backbone: further arguments of MixSTE.
    """

    noise: Tensor  # (K, H, F, J, 3) float32
    alpha_bar: Tensor  # (levels,) float32

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        in_channels: int = 2,
        schedule: Schedule | None = None,
        hypotheses: int = 5,
        steps: int = 5,
        levels: int = 1000,
        flip: bool = True,
        seed: int = 0,
        **backbone: Any,
    ) -> None:
        super().__init__()
        check_recovers_all("D3DP", schedule)
        if not (hypotheses >= 1 and 1 <= steps <= levels):
            raise ConfigError(
                "d3dp: expected hypotheses >= 1 and 1 <= steps <= levels, "
                f"got {hypotheses}, {steps}, {levels}"
            )
        self.shape = (frames, joints, in_channels)
        self.pose_estimator = Denoiser(
            in_channels, frames=frames, joints=joints, schedule=schedule, **backbone
        )
        self.levels, self.flip = levels, flip
        self.mirror = Mirror()
        for name, values in schedule_buffers(levels).items():  # saved as in the release, never read
            self.register_buffer(name, values)
        alpha_bar = torch.cumprod(1 - cosine_betas(levels), dim=0).float()
        self.register_buffer("alpha_bar", alpha_bar, persistent=False)
        rising_levels = torch.linspace(-1, levels - 1, steps + 1, device="cpu").int().tolist()
        self.chain = reverse_chain(cosine_betas(levels), rising_levels[:0:-1], ETA)
        noise = standard_normal(steps, hypotheses, frames, joints, 3, seed=seed)
        self.register_buffer("noise", noise, persistent=False)

    def forward(
        self,
        keypoints: Tensor,
        noisy: Tensor | None = None,
        level: Tensor | None = None,
        rows: slice | None = None,
    ) -> Tensor:
        """Poses (B, F, J, 3), or of `rows` alone: the mean of all hypotheses (P-Agg of the paper).

        With noisy poses (B, F, J, 3) or (B, H, F, J, 3) at level (B,) int64, for training: the
        denoiser's clean poses, in the shape of `noisy`.
        """
        check_sample_with_level("D3DP", noisy, level)
        if noisy is None or level is None:
            return self._denoise_in_steps(keypoints, None, rows)[-1].mean(dim=1)
        check_windows(keypoints, self)
        if noisy.ndim == 4:
            return self.pose_estimator.denoise(keypoints, noisy[:, None], level)[:, 0]
        return self.pose_estimator.denoise(keypoints, noisy, level)

    def sample(self, keypoints: Tensor, noise: Tensor | None = None) -> Tensor:
        """All hypotheses after every step, (B, K, H, F, J, 3).

        noise: (K, B, H, F, J, 3) standard normal; [0] starts the chain and [i] is added before step i.
        """
        return torch.stack(self._denoise_in_steps(keypoints, noise), dim=1)

    def _denoise_in_steps(
        self, keypoints: Tensor, noise: Tensor | None, rows: slice | None = None
    ) -> list[Tensor]:
        """All hypotheses (B, H, F, J, 3) after each of the K steps; after the last, of `rows` alone."""
        check_windows(keypoints, self)
        if noise is None:
            noise = self.noise[:, None].expand(-1, keypoints.shape[0], -1, -1, -1, -1)
        K, B, (F, J, _) = len(self.chain), keypoints.shape[0], self.shape
        if noise.ndim != 6 or (*noise.shape[:2], *noise.shape[3:]) != (K, B, F, J, 3):
            raise ShapeError(
                f"D3DP: expected noise (K, B, H, F, J, 3) = ({K}, {B}, H, {F}, {J}, 3), one per step, "
                f"got {tuple(noise.shape)}"
            )
        sample, poses = noise[0], []  # sample (B, H, F, J, 3)
        for i, step in enumerate(self.chain):
            last = i + 1 == len(self.chain)
            noisy = sample.clamp(-MAX_ABS_M, MAX_ABS_M)
            clean = self._estimate_clean(keypoints, noisy, step.level, rows if last else None)
            clean = clean.clamp(-MAX_ABS_M, MAX_ABS_M)
            poses.append(clean)
            if not last:
                sample = step.advance(clean, step.noise_from_clean(sample, clean), noise[i + 1])
        return poses

    def _estimate_clean(self, keypoints: Tensor, noisy: Tensor, level: int, rows: slice | None) -> Tensor:
        """Clean poses (B, H, F, J, 3); with `flip` the average over the mirrored input."""
        if self.flip:
            keypoints = torch.cat([keypoints, self.mirror(keypoints)])  # (2B, F, J, C)
            noisy = torch.cat([noisy, self.mirror(noisy)])  # (2B, H, F, J, 3)
        levels = torch.full(keypoints.shape[:1], level, device=keypoints.device)
        clean = self.pose_estimator.denoise(keypoints, noisy, levels, rows)
        if not self.flip:
            return clean
        direct, mirrored = torch.unflatten(clean, 0, (2, -1)).unbind()
        average: Tensor = (direct + self.mirror(mirrored)) / 2
        return average

    def corrupt(
        self, keypoints: Tensor, poses: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Training inputs and target: noisy poses (B, F, J, 3), levels (B,), clean poses (B, F, J, 3)."""
        level = random_levels(len(poses), self.levels, generator, poses.device)
        noise = random_like(poses, generator)
        noisy = add_noise(poses, noise, self.alpha_bar[level][:, None, None, None])
        return noisy.clamp(-MAX_ABS_M, MAX_ABS_M), level, poses

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean distance of joints in metres (MPJPE), D3DP's training loss."""
        mpjpe: Tensor = (output - target).norm(dim=-1).mean()
        return mpjpe


def schedule_buffers(levels: int) -> dict[str, Tensor]:
    """The twelve tensors (levels,) float64 of the cosine schedule that released checkpoints carry."""
    betas = cosine_betas(levels)
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    previous = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    variance = betas * (1 - previous) / (1 - alpha_bar)
    return {
        "betas": betas,
        "alphas_cumprod": alpha_bar,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": alpha_bar.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alpha_bar).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - alpha_bar).log(),
        "sqrt_recip_alphas_cumprod": (1 / alpha_bar).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alpha_bar - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * previous.sqrt() / (1 - alpha_bar),
        "posterior_mean_coef2": (1 - previous) * (1 - betas).sqrt() / (1 - alpha_bar),
    }
