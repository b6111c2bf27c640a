"""Measures the figures of `poselift report`.

    report = measure(ReportPlan("small", Path("DIR"), others={"tcn": "tcn.safetensors"}, videos=videos))
    print(page.card(report))

DIR holds motion_test.npz, and motion_train.npz for the mean poses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

import lifter
from lifter import weights
from lifter.data import mocap
from lifter.evaluation import clip_errors, robustness
from lifter.evaluation.clip_errors import errors_of_all_frames
from lifter.evaluation.labelled_video import (
    LabelledVideo,
    bone_variation,
    lift_newest,
    lift_offline,
    video_scores,
)
from lifter.evaluation.mean_pose import mean_poses
from lifter.evaluation.offline_lifter import OfflineLifter, with_short_window, without_pruning
from lifter.evaluation.robustness import MeanErrors
from lifter.paper import flops
from lifter.reports.report import (
    DRAWS,
    RATES_HZ,
    ROLL_DEG,
    SIZE_EDGES,
    DrawErrors,
    DrawMean,
    ModelErrors,
    Report,
    Robustness,
    TruthSteadiness,
    VideoErrors,
)
from lifter.synthesis.body_shapes import BODY_SHAPES
from lifter.synthesis.synthetic_clips import SyntheticClip, synthetic_clips
from stream.errors import ConfigError
from stream.messages import F32

TEST_FILE, TRAIN_FILE = "motion_test.npz", "motion_train.npz"
ROBUSTNESS_EVERY = 4  # robustness is measured on every fourth clip
QUICK_EVERY = 40
AT_TRUE_DEPTH = "the detector's keypoints at true depth"
Extent = Literal["full", "brief", "quick"]
PrintLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """What to measure.

    weights: packaged, or a file; data: the folder of motion capture; others: further weights by the names of
    their rows; videos: real videos; published_poses: the poses that the live pipeline publishes for a video.
    extent: "full"; "brief", without robustness; "quick", a few clips, as a trial.
    """

    weights: str | Path
    data: Path
    others: Mapping[str, str | Path] = field(default_factory=dict)
    videos: Sequence[LabelledVideo] = ()
    published_poses: Callable[[LabelledVideo], F32] | None = None
    extent: Extent = "full"


def measure(plan: ReportPlan, print_line: PrintLine = print) -> Report:
    """All figures of a report. Raises ConfigError for weights of lifters that give one pose per window."""
    own = _load(plan.weights)
    others = {name: _load(path) for name, path in plan.others.items()}
    quick = plan.extent == "quick"
    print_line("rendering the test clips")
    clips = list(synthetic_clips(plan.data / TEST_FILE, QUICK_EVERY if quick else 1))
    models = _models(own, others, clips, print_line)
    groups = sorted({clip_errors.group_of(clip) for clip in clips})
    training_groups = groups
    train_path = plan.data / TRAIN_FILE
    if train_path.is_file():
        print_line("mean poses")
        models += _mean_poses(train_path, clips)
        in_training = {source.partition("_")[0] for source in mocap.read_mocap(train_path).source}
        training_groups = [group for group in groups if group in in_training] or groups
    draws = _draws(plan, {own.spec.name: own} | others, models, training_groups, print_line)
    robust = None
    if plan.extent != "brief":
        print_line("robustness")
        robust = _robustness(plan, own, clips)
    newest = models[0].newest
    return Report(
        spec=own.spec,
        clips={group: _count(clips, group) for group in groups},
        single_frames=sum(len(frames) for frames in newest.frames) if newest else 0,
        detector=clip_errors.detector_errors(clips),
        training_groups=training_groups,
        models=models,
        draws=draws,
        sizes=clip_errors.errors_by_size(clips, models[0].all_frames, SIZE_EDGES),
        motion={model.name: clip_errors.errors_by_motion(clips, model.all_frames) for model in models},
        robustness=robust,
        videos=_video_errors(plan, {own.spec.name: own} | others) if plan.videos else None,
    )


def _load(name: str | Path) -> OfflineLifter:
    return OfflineLifter(*weights.load(lifter.weights_path(name)))


def _models(
    own: OfflineLifter,
    others: Mapping[str, OfflineLifter],
    clips: Sequence[SyntheticClip],
    print_line: PrintLine,
) -> list[ModelErrors]:
    """The lifter, the same weights without pruning and with a shorter window, the others, the 2D errors."""
    lifters = {own.spec.name: own}
    unpruned, short = without_pruning(own), with_short_window(own)
    if unpruned:
        lifters["the same weights, no frame pruned"] = unpruned
    if short:
        lifters[f"the same weights, windows of {short.spec.frames} frames"] = short
    models = []
    for name, model in (lifters | dict(others)).items():
        print_line(f"errors of {name}")
        models.append(_model_errors(name, model, clips, single_frames=model is not unpruned))
    at_true_depth = errors_of_all_frames(clips, clip_errors.at_true_depth)
    return [*models, ModelErrors(AT_TRUE_DEPTH, None, None, at_true_depth)]


def _model_errors(
    name: str, model: OfflineLifter, clips: Sequence[SyntheticClip], single_frames: bool
) -> ModelErrors:
    cost = flops.count(model.spec)[0]
    return ModelErrors(
        name,
        cost.parameters,
        cost.all_flops / 1e9,
        errors_of_all_frames(clips, clip_errors.with_detector(model)),
        errors_of_all_frames(clips, clip_errors.with_exact_2d(model)),
        clip_errors.errors_of_single_frames(clips, model, "centre") if single_frames else None,
        clip_errors.errors_of_single_frames(clips, model, "newest") if single_frames else None,
    )


def _draws(
    plan: ReportPlan,
    lifters: Mapping[str, OfflineLifter],
    models: Sequence[ModelErrors],
    groups: Sequence[str],
    print_line: PrintLine,
) -> list[DrawErrors]:
    """Errors of the lifters over `DRAWS` draws of cameras and detectors; models: errors of the first draw."""
    first = {model.name: model for model in models}
    detector = {name: [first[name].all_frames.mean(groups)] for name in lifters}
    exact = {name: [errors.mean(groups)] for name in lifters if (errors := first[name].exact_2d)}
    every = QUICK_EVERY if plan.extent == "quick" else 1
    for draw in range(1, DRAWS):
        print_line(f"draw {draw + 1} of {DRAWS}")
        clips = list(synthetic_clips(plan.data / TEST_FILE, every, draw=draw))
        for name, model in lifters.items():
            detector[name].append(errors_of_all_frames(clips, clip_errors.with_detector(model)).mean(groups))
            exact[name].append(errors_of_all_frames(clips, clip_errors.with_exact_2d(model)).mean(groups))
    return [DrawErrors(name, _draw_mean(detector[name]), _draw_mean(exact[name])) for name in lifters]


def _draw_mean(draws: Sequence[MeanErrors]) -> DrawMean:
    """The mean of the errors of several draws and its standard error."""
    errors = np.array(draws)
    standard_error = errors.std(axis=0, ddof=1) / len(errors) ** 0.5
    return DrawMean(*errors.mean(axis=0).tolist(), *standard_error.tolist())


def _mean_poses(train_path: Path, clips: Sequence[SyntheticClip]) -> list[ModelErrors]:
    names = ("mean pose", "mean pose of the true facing")
    return [
        ModelErrors(name, None, None, errors_of_all_frames(clips, mean_pose.lift))
        for name, mean_pose in zip(names, mean_poses(train_path), strict=True)
    ]


def _robustness(plan: ReportPlan, model: OfflineLifter, all_clips: Sequence[SyntheticClip]) -> Robustness:
    quick = plan.extent == "quick"
    every = QUICK_EVERY if quick else ROBUSTNESS_EVERY
    clips = all_clips if quick else all_clips[::ROBUSTNESS_EVERY]
    curves = robustness.disturbance_curves(clips, model, quick)
    factors = [rate_hz / clips[0].rate_hz for rate_hz in RATES_HZ]
    return Robustness(
        clips=len(clips),
        with_detector=errors_of_all_frames(clips, clip_errors.with_detector(model)).mean(),
        with_exact_2d=curves[0].errors[0],
        half_occluded=robustness.half_occluded(clips, model),
        curves=curves,
        rates=robustness.at_frame_rates(clips, model, factors),
        resampled=robustness.at_frame_rates_resampled(clips, model, factors),
        rolled=robustness.with_rolled_camera(clips, model, ROLL_DEG),
        mirror_gap_mm=robustness.mirror_gap_mm(clips, model),
        standing_jitter_mm=robustness.standing_jitter_mm(clips, model, noisy=False),
        standing_jitter_noisy_mm=robustness.standing_jitter_mm(clips, model, noisy=True),
        bodies={body: _body_errors(plan.data / TEST_FILE, every, body, model) for body in BODY_SHAPES},
    )


def _body_errors(path: Path, every: int, body: str, model: OfflineLifter) -> tuple[MeanErrors, MeanErrors]:
    """Mean errors with detector errors and with exact 2D, of clips with one body's proportions."""
    clips = list(synthetic_clips(path, every, body))
    with_detector = errors_of_all_frames(clips, clip_errors.with_detector(model)).mean()
    return with_detector, errors_of_all_frames(clips, clip_errors.with_exact_2d(model)).mean()


def _video_errors(plan: ReportPlan, lifters: Mapping[str, OfflineLifter]) -> VideoErrors:
    videos, own_name = plan.videos, next(iter(lifters))
    rows = {"the detector's own 3D": [video_scores(video.world, video) for video in videos]}
    for name, model in lifters.items():
        rows[f"{name}, offline"] = [video_scores(lift_offline(model, video), video) for video in videos]
        rows[f"{name}, newest frame"] = [video_scores(lift_newest(model, video), video) for video in videos]
        if plan.published_poses and name == own_name:
            rows[f"{name}, as sent live"] = [
                video_scores(plan.published_poses(video), video) for video in videos
            ]
    truth = [
        TruthSteadiness(bone_variation(video.truth), video_scores(video.truth, video).acceleration)
        for video in videos
    ]
    return VideoErrors([video.name for video in videos], [len(video.truth) for video in videos], rows, truth)


def _count(clips: Sequence[SyntheticClip], group: str) -> tuple[int, int]:
    """Number of clips and of frames of a group."""
    lengths = [len(clip.truth) for clip in clips if clip_errors.group_of(clip) == group]
    return len(lengths), int(np.sum(lengths))


def weights_by_name(words: Sequence[str]) -> dict[str, Path]:
    """Weights by name, from words NAME=FILE. Raises ConfigError for a word of another form."""
    paths = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise ConfigError(f"--beside: expected NAME=FILE, got {word!r}")
        paths[name] = Path(file)
    return paths
