"""Refine the poses of one person over a whole recording: all frames together, after the lifter.

The refined poses stay near the lifted ones, project onto the keypoints, move smoothly, and have bones of
constant length, equal on both sides. They minimise the sum of these squares, each divided by the deviation
that it usually has (in metres), by L-BFGS over all frames:

    x - x_lifted        larger in depth, in which a lifter errs more than across the image
    projection - keypoint, times score, at the person's depth; capped, since detectors err by much at times
    second difference of x in time, times rate^2 / 50^2
    length of a bone - its length over the recording
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream.messages import F32
from stream.skeletons import Skeleton

DEPTH_M, ACROSS_M = 0.04, 0.02  # deviations of a lifted joint
KEYPOINT_M = 0.02
ACCELERATION_M = 0.004  # per frame squared at 50 Hz
LENGTH_M, SIDES_M = 0.003, 0.005
ROOT_ACCELERATION_M = 0.01
ITERATIONS = 60
MIN_FRAMES = 10
MIN_DEPTH_M = 0.3
_REFERENCE_HZ = 50.0


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One person over L successive frames.

    xyz (L, J, 3) float32 metres from the root, camera axes; keypoints (L, J, 3) float32 x px, y px, score (0
    for a joint that was not detected); rate_hz: frames per second; focal_px and centre_px of the camera.
    """

    xyz: F32
    keypoints: F32
    rate_hz: float
    focal_px: tuple[float, float]
    centre_px: tuple[float, float]


def refine(recording: Recording, skeleton: Skeleton) -> F32:
    """Refined poses (L, J, 3) float32, metres from the root; unchanged with fewer than 10 frames."""
    if len(recording.xyz) < MIN_FRAMES:
        return recording.xyz
    with torch.enable_grad():
        return _Problem(recording, skeleton).solve()


class _Problem:
    """The squares of a recording as a function of its poses, root path and bone lengths."""

    def __init__(self, recording: Recording, skeleton: Skeleton) -> None:
        self.lifted = torch.from_numpy(recording.xyz.astype(np.float64))
        score = torch.from_numpy(recording.keypoints[..., 2].astype(np.float64))
        centre, focal = (
            torch.tensor(v, dtype=torch.float64) for v in (recording.centre_px, recording.focal_px)
        )
        plane = (torch.from_numpy(recording.keypoints[..., :2].astype(np.float64)) - centre) / focal
        self.weight = torch.where(plane.isfinite().all(dim=-1), score.nan_to_num(), 0.0)
        self.plane = plane.nan_to_num()  # (L, J, 2) at depth 1
        self.root = _root(self.lifted, self.plane, self.weight)
        starts, ends = zip(*skeleton.bones, strict=True)
        self.starts, self.ends = list(starts), list(ends)
        # For each bone, the same bone of the other side.
        other = skeleton.flip_indices
        pairs = [(other[a], other[b]) for a, b in skeleton.bones]
        self.other_side = [skeleton.bones.index(pair) for pair in pairs]
        self.rate = (recording.rate_hz / _REFERENCE_HZ) ** 2

    def solve(self) -> F32:
        """Poses (L, J, 3) float32 with the least squares."""
        pose, root = self.lifted.clone().requires_grad_(), self.root.clone().requires_grad_()
        length = self._lengths(self.lifted).median(dim=0).values.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [pose, root, length], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = self.squares(pose, root, length)
            loss.backward()
            return loss

        optimiser.step(closure)
        refined = pose.detach() - pose.detach()[:, :1]
        result: F32 = refined.numpy().astype(np.float32)
        return result if np.isfinite(result).all() else self.lifted.numpy().astype(np.float32)

    def squares(self, pose: Tensor, root: Tensor, length: Tensor) -> Tensor:
        """Sum of the squares of poses (L, J, 3), a root path (L, 3) and bone lengths (B,)."""
        deviation = torch.tensor([ACROSS_M, ACROSS_M, DEPTH_M], dtype=torch.float64)
        near = ((pose - self.lifted) / deviation).square().sum()
        camera = pose + root[:, None]
        depth = camera[..., 2].clamp(min=MIN_DEPTH_M)
        miss_m = (camera[..., :2] / depth[..., None] - self.plane) * root[:, None, 2:].detach()
        miss = miss_m.square().sum(dim=-1) / KEYPOINT_M**2
        # Geman-McClure: about the square of small misses, and never more than 9.
        keypoints = (self.weight * 9 * miss / (9 + miss)).sum()
        smooth = (_second_difference(pose) * self.rate / ACCELERATION_M).square().sum()
        path = (_second_difference(root) * self.rate / ROOT_ACCELERATION_M).square().sum()
        bones = ((self._lengths(pose) - length) / LENGTH_M).square().sum()
        sides = ((length - length[self.other_side]) / SIDES_M).square().sum() * len(pose) / 2
        total: Tensor = near + keypoints + smooth + path + bones + sides
        return total

    def _lengths(self, pose: Tensor) -> Tensor:
        """Lengths (L, B) of the bones, metres."""
        bone = pose[:, self.ends] - pose[:, self.starts]
        length: Tensor = torch.linalg.vector_norm(bone, dim=-1).clamp(min=1e-4)
        return length


def _second_difference(x: Tensor) -> Tensor:
    return x[2:] - 2 * x[1:-1] + x[:-2]


def _root(pose: Tensor, plane: Tensor, weight: Tensor) -> Tensor:
    """The root path (L, 3) in metres for which poses (L, J, 3) project nearest to the keypoints.

    Linear least squares of x Z = X, y Z = Y for each frame; a frame without keypoints takes the mean.
    """
    frames, joints = weight.shape
    matrix = torch.zeros(frames, joints, 2, 3, dtype=torch.float64)
    matrix[..., 0, 0] = matrix[..., 1, 1] = 1
    matrix[..., 2] = -plane
    values = plane * pose[..., 2:] - pose[..., :2]
    rows = weight[..., None].sqrt()
    matrix, values = (matrix * rows[..., None]).flatten(1, 2), (values * rows).flatten(1)
    normal = matrix.transpose(1, 2) @ matrix + 1e-9 * torch.eye(3, dtype=torch.float64)
    root = torch.linalg.solve(normal, (matrix.transpose(1, 2) @ values[..., None]))[..., 0]
    usable = ((weight > 0).sum(dim=1) >= 4) & (root[:, 2] > MIN_DEPTH_M) & root.isfinite().all(dim=1)
    mean = root[usable].mean(dim=0) if usable.any() else torch.tensor([0.0, 0.0, 4.0], dtype=torch.float64)
    return torch.where(usable[:, None], root, mean)


def segments(captured_ns: NDArray[np.int64], max_gap_ns: int) -> list[slice]:
    """Slices of successive frames between gaps of more than `max_gap_ns`."""
    ends = [*(np.flatnonzero(np.diff(captured_ns) > max_gap_ns) + 1).tolist(), len(captured_ns)]
    starts = [0, *ends[:-1]]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]
