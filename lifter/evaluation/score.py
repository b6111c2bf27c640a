"""`poselift evaluate`: the errors of weights on a dataset, as a table.

    print(score("small", "data/motion_test.npz").text())

data is a folder with the files of "h36m" or "mpi3dhp", MotionBERT's pickle or folder of clips, motion
capture (rendered with fixed virtual cameras), or an `.npz` of labelled videos with, for every video,
  <name>/keypoints (F, 17, 3) x px, y px, score
  <name>/truth     (F, 17, 3) metres in camera axes
  <name>/size_wh   (2,) image size in px
  <name>/joints    (N,) indices of the joints with a truth (optional; default: all)
  <name>/fps       frames per second (optional)
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

import lifter
from lifter import weights as weight_files
from lifter.architectures.d3dp_aggregate import Aggregate
from lifter.data import h36m, motionbert, mpi3dhp, safe_load
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.evaluate import Mode, evaluate
from lifter.evaluation.metrics import MetricTable
from lifter.synthesis import test_clips
from stream.errors import ConfigError

KeypointErrors = Literal["detector", "clean"]
AverageOrAggregate = Aggregate | Literal["flip"]


def score(
    weights: str | Path,
    data: str | Path,
    mode: Mode = "seq2seq",
    keypoint_errors: KeypointErrors = "detector",
    every: int = 1,
    aggregate: AverageOrAggregate = "mean",
) -> MetricTable:
    """Errors of weights (a file or a packaged name) per row of `data`.

    keypoint_errors: keypoints of motion capture with simulated detector errors, or "clean" projections.
    every: score only every n-th sequence. aggregate: "flip" averages with the mirrored input's pose, the
    others say how D3DP's hypotheses become one pose. Raises ConfigError for data in no known layout.
    """
    model, spec = weight_files.load(lifter.weights_path(weights))
    some = islice(sequences(Path(data), keypoint_errors), 0, None, every)
    if aggregate == "flip":
        return evaluate(model, spec, some, mode, flip=True)
    return evaluate(model, spec, some, mode, aggregate=aggregate)


def sequences(data: Path, keypoint_errors: KeypointErrors = "detector") -> Iterator[LabelledSequence]:
    """All test sequences of `data`, with their truth. Raises ConfigError for data in no known layout."""
    if (data / "data_3d_h36m.npz").is_file():
        return h36m.read_h36m(data, "test")
    if (data / "data_test_3dhp.npz").is_file():
        return mpi3dhp.read_mpi3dhp(data, "test")
    if data.suffix in (".pkl", ".pickle") or motionbert.is_clips(data):
        return motionbert.read_motionbert(data, "test")
    if data.suffix != ".npz" or not data.is_file():
        raise ConfigError(
            f"data: expected a folder with data_3d_h36m.npz or data_test_3dhp.npz, MotionBERT's .pkl "
            f"or folder of clips, or an .npz of motion capture or sequences, got {data}"
        )
    with safe_load.open_npz(data) as file:
        names = sorted(name.removesuffix("/truth") for name in file if name.endswith("/truth"))
        if names:
            return iter([_labelled_video(file, name) for name in names])
    return test_clips.synthetic_sequences(data, keypoint_errors)


def _labelled_video(file: np.lib.npyio.NpzFile, name: str) -> LabelledSequence:
    keypoints, truth = file[f"{name}/keypoints"].astype(np.float32), file[f"{name}/truth"].astype(np.float32)
    if keypoints.shape != truth.shape or keypoints.ndim != 3 or keypoints.shape[1:] != (17, 3):
        raise ConfigError(
            f"{name}: expected keypoints and truth (F, 17, 3), got {keypoints.shape} and {truth.shape}"
        )
    width, height = (int(side) for side in file[f"{name}/size_wh"])
    joints = tuple(int(joint) for joint in file[f"{name}/joints"]) if f"{name}/joints" in file else None
    rate_hz = float(file[f"{name}/fps"]) if f"{name}/fps" in file else None
    return LabelledSequence(name, keypoints, truth - truth[:, :1], (width, height), joints, rate_hz=rate_hz)
