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
from lifter.evaluation.published_poses import Indices, LagHop, published_poses
from lifter.runner import Runner
from lifter.spec import LifterSpec
from stream.errors import ConfigError

LAGS = (0, 1, 2, 4, 8, 16, 32, 60, 121)
HOPS = (1, 5, 10, 40)
MIN_FRAMES = 3  # frames needed for a second difference


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
    acceleration: jitter, mm per frame squared.
    """

    lag: int
    hop: int
    mpjpe: float
    p_mpjpe: float
    mpjve: float
    mpjve_per_s: float | None
    acceleration: float


class LagCurve(NamedTuple):
    """lags: a row per lag, with a pass at every frame; hops: a row per hop, without look-ahead.

    truth_acceleration: jitter of the truth. Of the `frames` scored in `clips`, `full` have a window without
    padding at lag 0, and `ahead` are followed by as many frames as the longest lag.
    """

    lags: tuple[LagCurveRow, ...]
    hops: tuple[LagCurveRow, ...]
    truth_acceleration: float
    clips: int
    frames: int
    full: int
    ahead: int
    rate_hz: float | None
    blend: int | None


def measure_lag_curve(
    runner: Runner,
    videos: Iterable[LabelledSequence],
    settings: LagCurveSettings = LagCurveSettings(),  # noqa: B008
    clips: int = 40,
    frames: int = 80,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LagCurve:
    """Errors over `frames` successive frames of each of `clips` videos, the same frames for every row.

    The videos are spread evenly over those that are long enough (over all, when all are too short). The
    scored frames are the last ones that the longest lag still follows, so that windows are full where
    possible. Raises ConfigError for lags and hops that do not fit the window, and without a usable video.
    """
    lags, hops = _checked_settings(runner.spec, settings)
    if clips < 1 or frames < MIN_FRAMES:
        raise ConfigError(
            f"lag-curve: expected 1 clip or more of {MIN_FRAMES}, got {clips} of {frames} frames"
        )
    selection = _select(videos, frames + max(lags), clips)
    pairs: list[LagHop] = list(dict.fromkeys([(lag, 1) for lag in lags] + [(0, hop) for hop in hops]))
    errors: dict[LagHop, list[tuple[float, ...]]] = {pair: [] for pair in pairs}
    truth_jitter, scored, full, ahead = [], 0, 0, 0
    for done, video in enumerate(selection):
        indices = _scored_frames(len(video.keypoints), frames, max(lags))
        truth = _scored_joints(video, video.truth[indices], indices)
        for pair, poses in published_poses(runner, video, indices, pairs, settings.blend).items():
            errors[pair].append(_mean_metrics(_scored_joints(video, poses), truth))
        truth_jitter.append(metrics.acceleration(truth, truth).mean())
        scored += len(indices)
        full += int((indices + 1 >= runner.spec.frames).sum())
        ahead += int((indices + max(lags) < len(video.keypoints)).sum())
        progress(done + 1, len(selection))
    rate_hz = _common_rate_hz(selection)
    rows = {pair: _row(*pair, np.mean(values, axis=0), rate_hz) for pair, values in errors.items()}
    by_lag, by_hop = tuple(rows[lag, 1] for lag in lags), tuple(rows[0, hop] for hop in hops)
    jitter = float(np.mean(truth_jitter))
    return LagCurve(by_lag, by_hop, jitter, len(selection), scored, full, ahead, rate_hz, settings.blend)


def _scored_frames(length: int, frames: int, max_lag: int) -> Indices:
    """Indices of the last frames of a video that the longest lag still follows, or of its first frames."""
    end = max(min(frames, length), length - max_lag)
    return np.arange(max(0, end - frames), end)


def _scored_joints(video: LabelledSequence, poses: NDArray[Any], frames: Indices | None = None) -> F64:
    """The joints with a truth of poses (N, J, 3), in metres; frames (N,): their indices, for the units."""
    poses = poses if video.joints is None else poses[:, list(video.joints)]
    if frames is not None and video.unit_m is not None:
        poses = video.unit_m[frames, None, None] * poses
    return poses.astype(np.float64)


def _mean_metrics(poses: F64, truth: F64) -> tuple[float, ...]:
    columns = (metrics.mpjpe, metrics.p_mpjpe, metrics.mpjve, metrics.acceleration)
    return tuple(float(metric(poses, truth).mean()) for metric in columns)


def _row(lag: int, hop: int, means: F64, rate_hz: float | None) -> LagCurveRow:
    mpjpe, p_mpjpe, mpjve, acceleration = means.tolist()
    mpjve_per_s = None if rate_hz is None else mpjve * rate_hz
    return LagCurveRow(lag, hop, mpjpe, p_mpjpe, mpjve, mpjve_per_s, acceleration)


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
    lags = [lag for lag in LAGS if lag < spec.frames] if lags is None else lags
    hops = [hop for hop in HOPS if hop <= spec.frames] if hops is None else hops
    for name, values, low, high in (("lags", lags, 0, spec.frames - 1), ("hops", hops, 1, spec.frames)):
        if not values or min(values) < low or max(values) > high:
            raise ConfigError(
                f"lag-curve: expected {name} from {low} to {high} for {spec.name}, got {list(values)}"
            )
    if blend is not None and blend < 0:
        raise ConfigError(f"lag-curve: expected a number of frames to blend from 0, got {blend}")
    return lags, hops
