"""D3DP (Shan et al., ICCV 2023): several hypotheses of a pose sequence, each refined out of noise.

The denoiser is MixSTE, plain or pruned, that also sees a noisy 3D pose and how noisy it is, and
answers with the clean one. Sampling starts from H noises and takes K steps; the H hypotheses are
averaged, or chosen joint by joint where the camera is known (`lifter.aggregate`). Names follow the
released state dicts: `pose_estimator` and twelve buffers of the noise schedule.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lifter.architectures.diffusion import cosine_betas, reverse_chain, sinusoid, standard_normal
from lifter.architectures.mixste import MixSTE
from lifter.layers import Mirror, expect_windows, take
from lifter.spec import Schedule
from stream.errors import ConfigError, ShapeError

LIMIT = 1.1  # clean and noisy poses are held within +- this many metres
ETA = 1.0  # as released: every step adds as much fresh noise as the forward process would


class Denoiser(MixSTE):
    """MixSTE that is also told noisy poses and their noise level."""

    remembers = False  # the noise belongs to a place in the window, not to a frame

    def __init__(self, in_channels: int, width: int = 512, **settings: Any) -> None:
        super().__init__(in_channels=in_channels + 3, width=width, **settings)
        self.time_mlp = nn.Sequential(  # place 0 is the sinusoid's, which needs float32 in any precision
            nn.Identity(), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def denoise(self, keypoints: Tensor, noisy: Tensor, level: Tensor, asked: slice | None = None) -> Tensor:
        """Clean poses (B, H, F, J, 3) from keypoints (B, F, J, C), noisy (B, H, F, J, 3), level (B,).

        asked: rows of the window to answer for, None for all.
        """
        (F, J, _), B = self.shape, keypoints.shape[0]
        if noisy.ndim != 5 or (noisy.shape[0], *noisy.shape[2:]) != (B, F, J, 3) or level.shape != (B,):
            raise ShapeError(
                f"D3DP: expected noisy poses (B, H, F, J, 3) = ({B}, H, {F}, {J}, 3) and levels ({B},), "
                f"got {tuple(noisy.shape)} and {tuple(level.shape)}"
            )
        H = noisy.shape[1]
        known = keypoints[:, None].expand(-1, H, -1, -1, -1)  # (B, H, F, J, C)
        x = torch.cat([known, noisy], dim=-1).flatten(0, 1)  # (B * H, F, J, C + 3)
        time = self.time_mlp(sinusoid(level, self.Spatial_pos_embed.shape[-1]).to(x.dtype))  # (B, D)
        time = time[:, None].expand(-1, H, -1).flatten(0, 1)  # (B * H, D)
        known = self.by_frame(take(x, self.hourglass.entering), time[:, None, None])
        return self(x, asked, known).unflatten(0, (B, H))


class D3DP(nn.Module):
    """Lifts keypoints (B, F, J, 2) float32 to root-relative poses (B, F, J, 3) float32 in metres.

    hypotheses H and steps K trade time for accuracy; flip averages every step with its mirror image;
    seed draws the noise, the same for every window, so that the same input gives the same bits;
    backbone: width, depth and whatever else MixSTE takes.
    """

    noise: Tensor  # (K, H, F, J, 3) float32
    left: Tensor  # (levels,) float32, alpha-bar

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
        if schedule is not None and schedule.recoverer not in ("tri", "tra"):
            raise ConfigError(
                "schedule.recoverer: D3DP refines all frames, expected 'tri' or 'tra', "
                f"got {schedule.recoverer!r}"
            )
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
        for name, values in schedule_buffers(levels).items():  # to be saved as released; nothing reads them
            self.register_buffer(name, values)
        left = torch.cumprod(1 - cosine_betas(levels), dim=0).float()
        self.register_buffer("left", left, persistent=False)
        visited = torch.linspace(-1, levels - 1, steps + 1, device="cpu").int().tolist()
        self.chain = reverse_chain(cosine_betas(levels), visited[:0:-1], ETA)
        drawn = standard_normal(steps, hypotheses, frames, joints, 3, seed=seed)
        self.register_buffer("noise", drawn, persistent=False)

    def forward(
        self,
        keypoints: Tensor,
        noisy: Tensor | None = None,
        level: Tensor | None = None,
        asked: slice | None = None,
    ) -> Tensor:
        """Poses (B, F, J, 3), or of the rows asked for: the mean of all hypotheses (P-Agg of the paper).

        With noisy poses (B, F, J, 3), or (B, H, F, J, 3), at level (B,) int64: the denoiser's answer
        in that shape, which is what training needs.
        """
        if noisy is None and level is None:
            return self._answers(keypoints, None, asked)[-1].mean(dim=1)
        expect_windows(keypoints, self)
        if noisy is None or level is None:
            raise ShapeError("D3DP: expected noisy poses and their level together, got one of them")
        if noisy.ndim == 4:
            return self.pose_estimator.denoise(keypoints, noisy[:, None], level)[:, 0]
        return self.pose_estimator.denoise(keypoints, noisy, level)

    def sample(self, keypoints: Tensor, noise: Tensor | None = None) -> Tensor:
        """All hypotheses after every step, (B, K, H, F, J, 3).

        noise (K, B, H, F, J, 3) standard normal: where the chain starts and what its steps add.
        """
        return torch.stack(self._answers(keypoints, noise), dim=1)

    def _answers(self, keypoints: Tensor, noise: Tensor | None, asked: slice | None = None) -> list[Tensor]:
        """All hypotheses (B, H, F, J, 3) after each step; those of the last one for the rows asked for."""
        expect_windows(keypoints, self)
        if noise is None:
            noise = self.noise[:, None].expand(-1, keypoints.shape[0], -1, -1, -1, -1)
        K, B, (F, J, _) = len(self.chain), keypoints.shape[0], self.shape
        if noise.ndim != 6 or (*noise.shape[:2], *noise.shape[3:]) != (K, B, F, J, 3):
            raise ShapeError(
                f"D3DP: expected noise (K, B, H, F, J, 3) = ({K}, {B}, H, {F}, {J}, 3), one for each step, "
                f"got {tuple(noise.shape)}"
            )
        sample, answers = noise[0], []  # (B, H, F, J, 3)
        for i, step in enumerate(self.chain):
            last = i + 1 == len(self.chain)
            noisy = sample.clamp(-LIMIT, LIMIT)
            clean = self._guess(keypoints, noisy, step.level, asked if last else None).clamp(-LIMIT, LIMIT)
            answers.append(clean)
            if not last:
                sample = step.advance(clean, step.noise_from_clean(sample, clean), noise[i + 1])
        return answers

    def _guess(self, keypoints: Tensor, noisy: Tensor, level: int, asked: slice | None) -> Tensor:
        """Clean poses (B, H, F, J, 3), with `flip` the average of both mirror images."""
        if self.flip:
            keypoints = torch.cat([keypoints, self.mirror(keypoints)])  # (2B, F, J, C)
            noisy = torch.cat([noisy, self.mirror(noisy)])  # (2B, H, F, J, 3)
        levels = torch.full(keypoints.shape[:1], level, device=keypoints.device)
        clean = self.pose_estimator.denoise(keypoints, noisy, levels, asked)
        if not self.flip:
            return clean
        straight, mirrored = clean.unflatten(0, (2, -1)).unbind()
        return (straight + self.mirror(mirrored)) / 2

    def corrupt(
        self, keypoints: Tensor, poses: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A training step's noisy poses (B, F, J, 3), their levels (B,), and what forward should answer."""
        device = poses.device if generator is None else generator.device
        level = torch.randint(self.levels, poses.shape[:1], generator=generator, device=device).to(
            poses.device
        )
        noise = torch.randn(poses.shape, generator=generator, device=device).to(poses)
        left = self.left[level][:, None, None, None]
        noisy = left.sqrt() * poses + (1 - left).sqrt() * noise
        return noisy.clamp(-LIMIT, LIMIT), level, poses

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        """Mean distance of joints in metres (MPJPE), as D3DP is trained."""
        return (answer - wanted).norm(dim=-1).mean()


def schedule_buffers(levels: int) -> dict[str, Tensor]:
    """The twelve tensors (levels,) float64 of the cosine schedule that released checkpoints carry."""
    betas = cosine_betas(levels)
    left = torch.cumprod(1 - betas, dim=0)
    before = torch.cat([left.new_ones(1), left[:-1]])
    variance = betas * (1 - before) / (1 - left)
    return {
        "betas": betas,
        "alphas_cumprod": left,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": left.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - left).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - left).log(),
        "sqrt_recip_alphas_cumprod": (1 / left).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / left - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - left),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - left),
    }
