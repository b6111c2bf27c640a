"""Read MPI-INF-3DHP in the files of P-STMO: `data_train_3dhp.npz` and `data_test_3dhp.npz`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lifter.data import safe_load as safe
from lifter.data.sequence import LabelledSequence
from stream.errors import ConfigError

# Index of each of Human3.6M's 17 joints in this dataset.
JOINTS = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
_TRAIN_WH = (2048, 2048)
_TEST_WH = {"TS5": (1920, 1080), "TS6": (1920, 1080)}  # the other sequences: as in training


def read_mpi3dhp(folder: Path, split: str) -> Iterator[LabelledSequence]:
    """Videos of a split: "train" (rows are subjects) or "test" (rows are the sequences TS1 to TS6)."""
    if split == "train":
        for name, cameras in safe.read_npz(folder / "data_train_3dhp.npz")["data"].items():
            for video in cameras[0].values():
                yield _sequence(name.split(" ")[0], video, _TRAIN_WH)
        return
    for name, video in safe.read_npz(folder / "data_test_3dhp.npz")["data"].items():
        yield _sequence(name, video, _TEST_WH.get(name, _TRAIN_WH))


def _sequence(row: str, video: dict[str, Any], size_wh: tuple[int, int]) -> LabelledSequence:
    xy, xyz = np.asarray(video["data_2d"]), np.asarray(video["data_3d"])
    if xy.ndim != 3 or xy.shape[1] != 17 or xyz.shape != (len(xy), 17, 3):
        raise ConfigError(
            f"mpi3dhp {row}: expected (F, 17, 2) and (F, 17, 3), got {xy.shape} and {xyz.shape}"
        )
    xy, metres = xy[:, JOINTS, :2], xyz[:, JOINTS] / 1000.0
    keypoints = np.concatenate([xy, np.ones((len(xy), 17, 1))], axis=-1).astype(np.float32)
    truth = (metres - metres[:, :1]).astype(np.float32)
    valid = np.asarray(video["valid"]).reshape(-1).astype(bool) if "valid" in video else None
    return LabelledSequence(row, keypoints, truth, size_wh, valid=valid, video=row)
