"""The figures of a report on a lifter; `measure.py` computes them, `page.py` writes them down."""

from dataclasses import dataclass
from typing import NamedTuple

from lifter.evaluation.clip_errors import ClipErrors
from lifter.evaluation.labelled_video import VideoScores
from lifter.evaluation.motion_complexity import MotionThird
from lifter.evaluation.robustness import DisturbanceCurve, MeanErrors
from lifter.spec import LifterSpec

RATES_HZ = (25, 30, 50, 60)
SIZE_EDGES = (0.2, 0.4, 0.8)  # of the image's height
ROLL_DEG = 10.0
DRAWS = 3


@dataclass(frozen=True, slots=True)
class ModelErrors:
    """Errors of one model on the test clips; None for a baseline without windows or parameters."""

    name: str
    parameters: int | None
    gflops: float | None
    all_frames: ClipErrors
    exact_2d: ClipErrors | None = None
    centre: ClipErrors | None = None
    newest: ClipErrors | None = None


class DrawMean(NamedTuple):
    """Mean errors in mm over several draws of cameras and detectors, and the standard errors of the means."""

    mpjpe: float
    p_mpjpe: float
    mpjpe_se: float
    p_mpjpe_se: float


class DrawErrors(NamedTuple):
    """Errors of one model on every frame of the training groups, over several draws."""

    name: str
    with_detector: DrawMean
    exact_2d: DrawMean


class TruthSteadiness(NamedTuple):
    """Steadiness of a video's truth: bone variation in percent, acceleration in mm per frame squared."""

    bone_variation: float
    acceleration: float


@dataclass(frozen=True, slots=True)
class VideoErrors:
    """Errors on real videos: for every row, by its name, the scores of each video."""

    videos: list[str]
    frames: list[int]
    rows: dict[str, list[VideoScores]]
    truth: list[TruthSteadiness]


@dataclass(frozen=True, slots=True)
class Robustness:
    """Errors on a part of the clips under one disturbance at a time; pairs are MPJPE and P-MPJPE in mm.

    rates, resampled: per rate of `RATES_HZ`; bodies: with detector errors and with exact 2D.
    """

    clips: int
    with_detector: MeanErrors
    with_exact_2d: MeanErrors
    half_occluded: dict[str, tuple[float, float]]
    curves: list[DisturbanceCurve]
    rates: list[MeanErrors]
    resampled: list[MeanErrors]
    rolled: MeanErrors
    mirror_gap_mm: float
    standing_jitter_mm: float
    standing_jitter_noisy_mm: float
    bodies: dict[str, tuple[MeanErrors, MeanErrors]]


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a report.

    clips: number of clips and of frames by group; single_frames: frames lifted alone; detector: median error
    in mm and missing joints in percent; training_groups: the groups that are in the training data, too;
    draws: errors over `DRAWS` draws of cameras and detectors; all other figures are of the first draw.
    sizes: see `errors_by_size`; motion: by name of a model, see `MotionErrors.thirds`.
    """

    spec: LifterSpec
    clips: dict[str, tuple[int, int]]
    single_frames: int
    detector: tuple[float, float]
    training_groups: list[str]
    models: list[ModelErrors]
    draws: list[DrawErrors]
    sizes: list[tuple[float, int]]
    motion: dict[str, list[MotionThird]]
    robustness: Robustness | None
    videos: VideoErrors | None
