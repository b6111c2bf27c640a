"""Read Human3.6M in the files of VideoPose3D: `data_3d_h36m.npz` and `data_2d_h36m_<detector>.npz`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lifter.data import safe_load as safe
from lifter.data.h36m_cameras import SIZES_WH, intrinsics, to_camera
from lifter.data.sequence import LabelledSequence
from stream.errors import ConfigError

DETECTOR = "cpn_ft_h36m_dbb"  # of the papers
TRAIN, TEST = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
# The 17 joints among the 32 of the motion capture.
JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)


def read_h36m(
    folder: Path, split: str, detector: str = DETECTOR, every: int = 1
) -> Iterator[LabelledSequence]:
    """Videos of the subjects of a split, "train" or "test"; the row is the action without its number.

    folder: has both files. every: step between frames (Table 9 of the paper: 1, 2, 3, 4 are 50, 25, 16.7,
    12.5 Hz). ConfigError for a missing subject or arrays of another shape.
    """
    world = safe.read_npz(folder / "data_3d_h36m.npz")["positions_3d"]
    if detector not in detectors(folder):
        raise ConfigError(
            f"{folder}: expected data_2d_h36m_{detector}.npz, found keypoints of "
            f"{', '.join(detectors(folder)) or 'no detector'}; choose with --detector, "
            "or data.detector in training"
        )
    pixels = safe.read_npz(folder / f"data_2d_h36m_{detector}.npz")["positions_2d"]
    for subject in TRAIN if split == "train" else TEST:
        if subject not in world or subject not in pixels:
            raise ConfigError(f"h36m: expected subject {subject} in both files in {folder}, it is missing")
        for action, xyz in world[subject].items():
            if action not in pixels[subject]:
                continue  # S11 "Directions" has no usable video
            for camera, xy in enumerate(pixels[subject][action]):
                yield _sequence(action, xyz, xy, subject, camera, every)


def detectors(folder: Path) -> list[str]:
    """Names of the detectors whose keypoints are in a folder, such as "cpn_ft_h36m_dbb" and "gt"."""
    prefix = "data_2d_h36m_"
    return sorted(path.stem.removeprefix(prefix) for path in folder.glob(f"{prefix}*.npz"))


def _sequence(action: str, xyz: Any, xy: Any, subject: str, camera: int, every: int) -> LabelledSequence:
    if xy.shape[1:] != (17, 2) or xyz.shape[1] not in (17, 32):
        raise ConfigError(
            f"h36m {subject} {action}: expected (F, 17, 2) and (F, 32, 3), got {xy.shape} and {xyz.shape}"
        )
    length = min(len(xyz), len(xy))  # there are a few more frames of keypoints than of motion capture
    joints = xyz[:length:every, list(JOINTS)] if xyz.shape[1] == 32 else xyz[:length:every]
    camera_xyz = to_camera(joints.astype(np.float64), subject, camera)
    truth = (camera_xyz - camera_xyz[:, :1]).astype(np.float32)
    keypoints = np.concatenate([xy[:length:every], np.ones((len(truth), 17, 1))], axis=-1)
    return LabelledSequence(
        action.split(" ")[0],
        keypoints.astype(np.float32),
        truth,
        SIZES_WH[camera],
        rate_hz=50 / every,
        camera=intrinsics(camera),
        root=camera_xyz[:, 0].astype(np.float32),
        video=f"{subject} {action} camera {camera}",
    )
