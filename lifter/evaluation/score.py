"""`poselift evaluate`: the errors of weights on a dataset, as a table.

    print(score("small", "data/motion_test.npz").text())

data is a folder with the files of "h36m" or "mpi3dhp", MotionBERT's pickle or folder of clips, motion
capture (rendered with fixed virtual cameras), or an `.npz` of labelled videos with, for every video,
  <name>/keypoints (F, 17, 3) x px, y px, score
  <name>/truth     (F, 17, 3) metres in camera axes
  <name>/size_wh   (2,) image size in px
  <name>/joints    (N,) indices of the joints with a truth (optional; default: all)
  <name>/valid     (F,) bool, frames with a truth (optional; default: all)
  <name>/fps       frames per second (optional; default: the rate of the lifter's training)
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from torch import nn

import lifter
from lifter import weights as weight_files
from lifter.data import h36m, motionbert, mpi3dhp, safe_load
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.evaluate import Combination, Mode, evaluate
from lifter.evaluation.metrics import MetricTable
from lifter.evaluation.motion_complexity import MotionErrors
from lifter.evaluation.protocol import Dataset, ProtocolName, protocol_named
from lifter.runner import find_device
from lifter.spec import LifterSpec
from lifter.synthesis import synthetic_clips
from stream.errors import ConfigError

KeypointErrors = Literal["detector", "clean"]


class ScoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How weights are scored.

    mode: `lifter.evaluation.evaluate`. combination: "flip" averages with the mirrored input's pose, the
    others say how D3DP's hypotheses become one pose. protocol: None for "paper" with the datasets of papers,
    else "ours". keypoint_errors: keypoints of motion capture with simulated detector errors, or "clean"
    projections. detector: of Human3.6M's keypoints. rate_hz: frames per second at which videos are lifted;
    None for the rate of the lifter's training. every: score only every n-th sequence. hypotheses, steps: of a
    diffusion lifter, None for its own. device: as `lifter.runner.Runner` takes it.
    """

    mode: Mode = "seq2seq"
    combination: Combination = "mean"
    protocol: ProtocolName | None = None
    keypoint_errors: KeypointErrors = "detector"
    detector: str = h36m.DETECTOR
    rate_hz: float | None = None
    every: int = 1
    hypotheses: int | None = None
    steps: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every: expected a number from 1, got {self.every}")
        if self.rate_hz is not None and not self.rate_hz > 0:
            raise ConfigError(f"rate: expected a rate above 0 Hz, got {self.rate_hz:g}")


DEFAULT_SETTINGS = ScoreSettings()


def score(
    weights: str | Path,
    data: str | Path,
    settings: ScoreSettings = DEFAULT_SETTINGS,
    motion: MotionErrors | None = None,
) -> MetricTable:
    """Errors of weights (a file or a packaged name) per row of `data`.

    motion: collects the errors by the true motion, too. Raises ConfigError for data in no known layout and
    for settings that do not fit the lifter.
    """
    model, spec = _load(weights, settings)
    model = model.to(find_device(settings.device))
    dataset = dataset_of(Path(data))
    protocol = settings.protocol or ("ours" if dataset == "other" else "paper")
    rate_hz = settings.rate_hz or spec.rate_hz
    selected = islice(
        sequences(Path(data), settings.keypoint_errors, settings.detector), 0, None, settings.every
    )
    resampled = (sequence.at_rate(rate_hz) for sequence in selected)
    chosen = protocol_named(protocol, spec, dataset)
    return evaluate(model, spec, resampled, settings.mode, settings.combination, chosen, motion)


def _load(weights: str | Path, settings: ScoreSettings) -> tuple[nn.Module, LifterSpec]:
    """The model and its spec, with the numbers of hypotheses and steps that the settings give."""
    model, spec = weight_files.load(lifter.weights_path(weights))
    numbers = {"hypotheses": settings.hypotheses, "steps": settings.steps}
    changes = {name: number for name, number in numbers.items() if number is not None}
    if not changes:
        return model, spec
    if spec.arch not in ("d3dp", "diffpose"):
        raise ConfigError(f"{' and '.join(changes)}: expected a diffusion lifter, got {spec.arch}")
    spec = msgspec.structs.replace(spec, config=spec.config | changes)
    other = weight_files.build(spec)
    weight_files.load_strictly(other, model.state_dict(), spec.name)
    return other, spec


def dataset_of(data: Path) -> Dataset:
    """The dataset whose published layout a file or folder has; "other" for motion capture and own videos."""
    if (data / "data_3d_h36m.npz").is_file():
        return "h36m"
    if (data / "data_test_3dhp.npz").is_file():
        return "mpi3dhp"
    if data.suffix in (".pkl", ".pickle") or motionbert.is_clips(data):
        return "motionbert"
    return "other"


def sequences(
    data: Path, keypoint_errors: KeypointErrors = "detector", detector: str = h36m.DETECTOR
) -> Iterator[LabelledSequence]:
    """All test sequences of `data`, with their truth. Raises ConfigError for data in no known layout."""
    dataset = dataset_of(data)
    if dataset == "h36m":
        return h36m.read_h36m(data, "test", detector)
    if dataset == "mpi3dhp":
        return mpi3dhp.read_mpi3dhp(data, "test")
    if dataset == "motionbert":
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
    return synthetic_clips.synthetic_sequences(data, keypoint_errors)


def _labelled_video(file: np.lib.npyio.NpzFile, name: str) -> LabelledSequence:
    keypoints, truth = file[f"{name}/keypoints"].astype(np.float32), file[f"{name}/truth"].astype(np.float32)
    if keypoints.shape != truth.shape or keypoints.ndim != 3 or keypoints.shape[1:] != (17, 3):
        raise ConfigError(
            f"{name}: expected keypoints and truth (F, 17, 3), got {keypoints.shape} and {truth.shape}"
        )
    width, height = (int(side) for side in file[f"{name}/size_wh"])
    joints = tuple(int(joint) for joint in file[f"{name}/joints"]) if f"{name}/joints" in file else None
    rate_hz = float(file[f"{name}/fps"]) if f"{name}/fps" in file else None
    valid = file[f"{name}/valid"].astype(bool) if f"{name}/valid" in file else None
    if valid is not None and valid.shape != (len(truth),):
        raise ConfigError(f"{name}: expected valid ({len(truth)},), got {valid.shape}")
    return LabelledSequence(
        name, keypoints, truth - truth[:, :1], (width, height), joints, valid, rate_hz=rate_hz
    )
