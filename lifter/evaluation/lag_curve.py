"""Latency against accuracy: errors of live poses by look-ahead (lag) and frames between passes (hop).

    curve = measure_lag_curve(lifter.load("small"), score.sequences(Path("data/motion_test.npz")))

The poses are those that the live pipeline publishes (`published_poses`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifter.data.sequence import LabelledSequence
from lifter.evaluation import metrics
from lifter.evaluation.metrics import F64
from lifter.evaluation.published_poses import Indices, LagHop, poses_by_history, published_poses
from lifter.runner import Runner
from lifter.spec import LifterSpec
from stream.errors import ConfigError

LAGS = (0, 1, 2, 3, 4, 8, 16, 32, 60)
HOPS = (1, 5, 10, 40)
HISTORIES = (1, 2, 5, 12, 25, 50, 100)
MIN_FRAMES = 3  # frames needed for a second difference
# Frames before the first scored one. With more history than this the error does not fall further, and clips
# of so many frames are frequent enough in the test data.
WARM_FRAMES = 100
HISTORY_EVERY = 4  # the errors by history are those of every fourth scored frame


class LagCurveSettings(NamedTuple):
    """What to measure: lags and hops, None for those of LAGS and HOPS that fit the lifter's window.

    blend: frames over which successive passes are blended, None for the default of the lag.
    """

    lags: Sequence[int] | None = None
    hops: Sequence[int] | None = None
    blend: int | None = None


class LagCurveRow(NamedTuple):
    """Mean errors of one lag and hop.

    mpjpe, p_mpjpe: mm; mpjve: mm per frame; mpjve_per_s: mm per second, None where the frame rate is unknown;
    acceleration: jitter, mm per frame squared. pass_acceleration: the same inside single passes, before
    blending; what passes add to it are their seams.
    """

    lag: int
    hop: int
    mpjpe: float
    p_mpjpe: float
    mpjve: float
    mpjve_per_s: float | None
    acceleration: float
    pass_acceleration: float


class HistoryRow(NamedTuple):
    """Mean errors in mm of the newest pose of windows that know `history` frames."""

    history: int
    mpjpe: float
    p_mpjpe: float


class LagCurve(NamedTuple):
    """lags: a row per lag, with a pass at every frame; hops: a row per hop, without look-ahead.

    histories: a row per length of history, of every fourth of the same frames, a single pass each, as in the
    first seconds of a person. truth_acceleration: jitter of the truth. Of the `frames` scored in `clips`,
    `warm` have `WARM_FRAMES` frames or more before them, and `ahead` are followed by as many frames as the
    longest lag.
    """

    lags: tuple[LagCurveRow, ...]
    hops: tuple[LagCurveRow, ...]
    histories: tuple[HistoryRow, ...]
    truth_acceleration: float
    clips: int
    frames: int
    warm: int
    ahead: int
    rate_hz: float | None
    blend: int | None


def measure_lag_curve(
    runner: Runner,
    videos: Iterable[LabelledSequence],
    settings: LagCurveSettings = LagCurveSettings(),  # noqa: B008
    clips: int = 40,
    frames: int = 40,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LagCurve:
    """Errors over `frames` successive frames of each of `clips` videos, the same frames for every row.

    The videos are spread evenly over those that are long enough (over all, when all are too short). The
    scored frames are the last ones that the longest lag still follows, so that a long history is before them.
    They are the same for every choice of lags up to the longest of `LAGS`. Raises ConfigError for lags and
    hops that do not fit the window, and without a usable video.
    """
    lags, hops = _checked_settings(runner.spec, settings)
    if clips < 1 or frames < MIN_FRAMES:
        raise ConfigError(
            f"lag-curve: expected 1 clip or more of {MIN_FRAMES}, got {clips} of {frames} frames"
        )
    followed_by = max(*lags, *_fitting(LAGS, runner.spec.frames - 1))
    history = min(WARM_FRAMES, runner.spec.frames - 1)
    selection = _select(videos, history + frames + followed_by, clips)
    pairs: list[LagHop] = list(dict.fromkeys([(lag, 1) for lag in lags] + [(0, hop) for hop in hops]))
    histories = (*_fitting(HISTORIES, runner.spec.frames - 1), runner.spec.frames)
    rows: dict[LagHop, list[tuple[float, ...]]] = {pair: [] for pair in pairs}
    cold_rows: dict[int, list[tuple[float, ...]]] = {known: [] for known in histories}
    truth_jitter, scored, warm, ahead = [], 0, 0, 0
    for done, video in enumerate(selection):
        indices = _scored_frames(len(video.keypoints), frames, followed_by)
        truth = _scored_joints(video, video.truth[indices], indices)
        for pair, published in published_poses(runner, video, indices, pairs, settings.blend).items():
            means = _mean_metrics(_scored_joints(video, published.poses), truth)
            rows[pair].append((*means, float(published.pass_jitter_mm.mean())))
        some = indices[::HISTORY_EVERY]
        for known, poses in poses_by_history(runner, video, some, histories).items():
            cold_rows[known].append(_mean_errors(_scored_joints(video, poses), truth[::HISTORY_EVERY]))
        truth_jitter.append(metrics.acceleration(truth, truth).mean())
        scored += len(indices)
        warm += int((indices >= history).sum())
        ahead += int((indices + max(lags) < len(video.keypoints)).sum())
        progress(done + 1, len(selection))
    rate_hz = _common_rate_hz(selection)
    return LagCurve(
        lags=tuple(_row(lag, 1, rows[lag, 1], rate_hz) for lag in lags),
        hops=tuple(_row(0, hop, rows[0, hop], rate_hz) for hop in hops),
        histories=tuple(
            HistoryRow(known, *np.mean(cold_rows[known], axis=0).tolist()) for known in histories
        ),
        truth_acceleration=float(np.mean(truth_jitter)),
        clips=len(selection),
        frames=scored,
        warm=warm,
        ahead=ahead,
        rate_hz=rate_hz,
        blend=settings.blend,
    )


def _fitting(values: Sequence[int], largest: int) -> tuple[int, ...]:
    """The values up to `largest`."""
    return tuple(value for value in values if value <= largest)


def _scored_frames(length: int, frames: int, followed_by: int) -> Indices:
    """Indices of the last frames of a video that `followed_by` frames follow, or of its first frames."""
    end = max(min(frames, length), length - followed_by)
    return np.arange(max(0, end - frames), end)


def _scored_joints(video: LabelledSequence, poses: NDArray[Any], frames: Indices | None = None) -> F64:
    """The joints with a truth of poses (N, J, 3), in metres; frames (N,): their indices, for the units."""
    poses = poses if video.joints is None else poses[:, list(video.joints)]
    if frames is not None and video.unit_m is not None:
        poses = video.unit_m[frames, None, None] * poses
    return poses.astype(np.float64)


def _mean_errors(poses: F64, truth: F64) -> tuple[float, ...]:
    return float(metrics.mpjpe(poses, truth).mean()), float(metrics.p_mpjpe(poses, truth).mean())


def _mean_metrics(poses: F64, truth: F64) -> tuple[float, ...]:
    of_change = (metrics.mpjve(poses, truth), metrics.acceleration(poses, truth))
    return (*_mean_errors(poses, truth), *(float(values.mean()) for values in of_change))


def _row(lag: int, hop: int, clips: list[tuple[float, ...]], rate_hz: float | None) -> LagCurveRow:
    """The means over clips, which all count the same."""
    mpjpe, p_mpjpe, mpjve, acceleration, pass_acceleration = np.mean(clips, axis=0).tolist()
    mpjve_per_s = None if rate_hz is None else mpjve * rate_hz
    return LagCurveRow(lag, hop, mpjpe, p_mpjpe, mpjve, mpjve_per_s, acceleration, pass_acceleration)


def _select(videos: Iterable[LabelledSequence], min_frames: int, clips: int) -> list[LabelledSequence]:
    """At most `clips` fully labelled videos, evenly spread over those of at least `min_frames`."""
    labelled = [
        video
        for video in videos
        if len(video.truth) >= MIN_FRAMES and (video.valid is None or video.valid.all())
    ]
    if not labelled:
        raise ConfigError(
            f"lag-curve: expected a video of {MIN_FRAMES} frames or more with truth for each, found none"
        )
    long = [video for video in labelled if len(video.truth) >= min_frames] or labelled
    return [long[index] for index in np.linspace(0, len(long) - 1, min(clips, len(long))).round().astype(int)]


def _common_rate_hz(videos: Iterable[LabelledSequence]) -> float | None:
    """The frame rate of all videos, None where they differ."""
    rates = {video.rate_hz for video in videos}
    return rates.pop() if len(rates) == 1 else None


def _checked_settings(spec: LifterSpec, settings: LagCurveSettings) -> tuple[Sequence[int], Sequence[int]]:
    """Lags and hops to measure. Raises ConfigError for values that do not fit the window."""
    if spec.output != "sequence":
        raise ConfigError(
            f"lag-curve: {spec.name} gives only the pose in the middle of {spec.frames} frames, whatever the "
            "lag; expected a lifter of sequences"
        )
    lags, hops, blend = settings
    lags = _fitting(LAGS, spec.frames - 1) if lags is None else lags
    hops = _fitting(HOPS, spec.frames) if hops is None else hops
    for name, values, low, high in (("lags", lags, 0, spec.frames - 1), ("hops", hops, 1, spec.frames)):
        if not values or min(values) < low or max(values) > high:
            raise ConfigError(
                f"lag-curve: expected {name} from {low} to {high} for {spec.name}, got {list(values)}"
            )
    if blend is not None and blend < 0:
        raise ConfigError(f"lag-curve: expected a number of frames to blend from 0, got {blend}")
    return lags, hops
