"""What waiting is worth: errors against look-ahead (lag) and frames between passes (hop), as published live.

    curve = measure(lifter.load("small"), score.sequences(Path("data/motion_test.npz")))

Every pose is the one that the live pipeline would have sent. Videos go through its ring buffer, so that a
window holds what was seen until then and repeats the first frame before it. Passes come every `hop` frames,
each with `lag` frames after the last one it answers for; the video's end cuts them short. Each is blended
with the pass before. Frames are taken as they come, whatever their rate (`lifter.resample: native`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifter.data.sequence import LabelledSequence as Video
from lifter.evaluation import metrics
from lifter.runner import Runner
from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.messages import F32
from stream.postprocess.blend import PassBlender, default_blend_frames
from stream.windows.ring import Ring

LAGS = (0, 1, 2, 4, 8, 16, 32, 60, 121)
HOPS = (1, 5, 10, 40)
MIN_SCORE = 0.05  # joints with less count as not seen, as `lifter.min_score` has it
_BATCH = 4  # more windows at once fit no cache, and take longer
_SETTLED = 40  # frames before the first one scored: what was blended earlier has faded
_LEAST = 3  # frames that have a second difference

Pair = tuple[int, int]  # lag, hop


class Settings(NamedTuple):
    """What is tried: lags and hops, None for those of LAGS and HOPS that fit the lifter's window.

    blend: over how many frames a seam between passes fades, None for what the lag suggests.
    """

    lags: Sequence[int] | None = None
    hops: Sequence[int] | None = None
    blend: int | None = None


class Row(NamedTuple):
    """Means: errors in mm, velocity errors in mm per frame and per second, jitter in mm per frame squared."""

    lag: int
    hop: int
    mpjpe: float
    p_mpjpe: float
    mpjve: float
    mpjve_per_s: float | None  # None where the frame rate is not known
    acceleration: float


class Curve(NamedTuple):
    """lags: a row each, with a pass at every frame; hops: a row each, without look-ahead.

    truth_acceleration: jitter of the truth itself. Of the `frames` scored in `clips`, `full` have a window
    without padding at lag 0, and `ahead` are followed by as many frames as the longest lag.
    """

    lags: tuple[Row, ...]
    hops: tuple[Row, ...]
    truth_acceleration: float
    clips: int
    frames: int
    full: int
    ahead: int
    rate_hz: float | None
    blend: int | None


def measure(
    runner: Runner,
    videos: Iterable[Video],
    settings: Settings = Settings(),  # noqa: B008
    clips: int = 40,
    frames: int = 80,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Curve:
    """Errors over `frames` successive frames of each of `clips` videos, the same frames for every row.

    The videos are spread evenly over those that are long enough (over all when none is); their frames are the
    last ones followed by the longest lag, so that windows are full if they can.
    """
    lags, hops = _checked(runner.spec, settings)
    if clips < 1 or frames < _LEAST:
        raise ConfigError(f"lag-curve: expected 1 clip or more of {_LEAST}, got {clips} of {frames} frames")
    chosen = _spread(videos, frames + max(lags), clips)
    pairs: list[Pair] = list(dict.fromkeys([(lag, 1) for lag in lags] + [(0, hop) for hop in hops]))
    values: dict[Pair, list[tuple[float, ...]]] = {pair: [] for pair in pairs}
    jitter, scored, full, ahead = [], 0, 0, 0
    for done, video in enumerate(chosen):
        length = len(video.keypoints)
        end = max(min(frames, length), length - max(lags))
        here = np.arange(max(0, end - frames), end)
        truth = _scored(video, video.truth[here], here)
        for pair, poses in published(runner, video, here, pairs, settings.blend).items():
            values[pair].append(_errors(_scored(video, poses), truth))
        jitter.append(metrics.acceleration(truth, truth).mean())
        scored += len(here)
        full += int((here + 1 >= runner.spec.frames).sum())
        ahead += int((here + max(lags) < length).sum())
        progress(done + 1, len(chosen))
    rate_hz = _rate(chosen)
    rows = {pair: _row(*pair, np.mean(each, axis=0), rate_hz) for pair, each in values.items()}
    by_lag, by_hop = tuple(rows[lag, 1] for lag in lags), tuple(rows[0, hop] for hop in hops)
    steps = float(np.mean(jitter))
    return Curve(by_lag, by_hop, steps, len(chosen), scored, full, ahead, rate_hz, settings.blend)


def window_ends(frames: NDArray[np.int64], lag: int, hop: int, length: int) -> NDArray[np.int64]:
    """How many frames of a video of `length` are known to the pass that publishes each of `frames` (N,)."""
    return np.minimum((frames // hop + 1) * hop + lag, length)


def published(
    runner: Runner,
    video: Video,
    frames: NDArray[np.int64],
    pairs: Iterable[Pair],
    blend: int | None = None,
) -> dict[Pair, F32]:
    """Poses (N, J, 3) of successive `frames` (N,) as sent live with each lag and hop.

    blend: as in `Settings`. Windows that pairs have in common are lifted once.
    """
    length = len(video.keypoints)
    known = np.arange(max(0, int(frames[0]) - _SETTLED), frames[-1] + 1)
    ends = {pair: window_ends(known, *pair, length) for pair in pairs}
    ring = Ring(max(length, runner.spec.frames) + 2, runner.spec.joints)
    for index, seen in enumerate(video.keypoints):
        ring.push(seen[:, :2], np.where(seen[:, 2] < MIN_SCORE, np.float32(0), seen[:, 2]), index)
    answers: dict[int, F32] = {}
    needed = np.unique(np.concatenate(list(ends.values()))).tolist()
    for first in range(0, len(needed), _BATCH):
        batch = needed[first : first + _BATCH]
        windows = [ring.window(runner.spec.frames, video.size_wh, end) for end in batch]
        answers.update(zip(batch, runner.lift(windows), strict=True))
    sent = {}
    for (lag, hop), until in ends.items():
        passes = dict(zip((known // hop).tolist(), until.tolist(), strict=True))
        seams = PassBlender(default_blend_frames(lag) if blend is None else blend)
        rows: dict[int, F32] = {}
        for number, end in passes.items():
            asked = range(number * hop, min((number + 1) * hop, length))
            captured_ns = np.maximum(np.arange(end - runner.spec.frames, end), 0)
            poses = seams.blend(ring, captured_ns, answers[end], asked[-1])
            rows.update({frame: poses[frame - end] for frame in asked})
        sent[lag, hop] = np.stack([rows[frame] for frame in frames.tolist()])
    return sent


def _scored(video: Video, poses: NDArray, frames: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """The joints that count of poses (N, J, 3), in metres; frames (N,) say which, where units differ."""
    poses = poses if video.joints is None else poses[:, list(video.joints)]
    if frames is not None and video.unit_m is not None:
        poses = video.unit_m[frames, None, None] * poses
    return poses.astype(np.float64)


def _errors(poses: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[float, ...]:
    measured = (metrics.mpjpe, metrics.p_mpjpe, metrics.mpjve, metrics.acceleration)
    return tuple(float(metric(poses, truth).mean()) for metric in measured)


def _row(lag: int, hop: int, means: NDArray[np.float64], rate_hz: float | None) -> Row:
    mpjpe, p_mpjpe, mpjve, acceleration = means.tolist()
    return Row(lag, hop, mpjpe, p_mpjpe, mpjve, None if rate_hz is None else mpjve * rate_hz, acceleration)


def _spread(videos: Iterable[Video], length: int, clips: int) -> list[Video]:
    """At most `clips` videos, evenly spread over those of at least `length` frames."""
    whole = [
        each for each in videos if len(each.truth) >= _LEAST and (each.valid is None or each.valid.all())
    ]
    if not whole:
        raise ConfigError(
            f"lag-curve: expected a video of {_LEAST} frames or more with truth for each, found none"
        )
    fit = [each for each in whole if len(each.truth) >= length] or whole
    return [fit[index] for index in np.linspace(0, len(fit) - 1, min(clips, len(fit))).round().astype(int)]


def _rate(videos: Iterable[Video]) -> float | None:
    """The frame rate that all have in common."""
    rates = {video.rate_hz for video in videos}
    return rates.pop() if len(rates) == 1 else None


def _checked(spec: LifterSpec, settings: Settings) -> tuple[Sequence[int], Sequence[int]]:
    """Lags and hops."""
    if spec.output != "sequence":
        raise ConfigError(
            f"lag-curve: {spec.name} answers only for the middle of {spec.frames} frames, whatever the lag; "
            "expected a lifter of sequences"
        )
    lags, hops, blend = settings
    lags = [lag for lag in LAGS if lag < spec.frames] if lags is None else lags
    hops = [hop for hop in HOPS if hop <= spec.frames] if hops is None else hops
    for what, given, least, most in (("lags", lags, 0, spec.frames - 1), ("hops", hops, 1, spec.frames)):
        if not given or min(given) < least or max(given) > most:
            raise ConfigError(
                f"lag-curve: expected {what} from {least} to {most} for {spec.name}, got {list(given)}"
            )
    if blend is not None and blend < 0:
        raise ConfigError(f"lag-curve: expected a number of frames to blend from 0, got {blend}")
    return lags, hops
