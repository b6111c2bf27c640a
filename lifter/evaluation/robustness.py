"""What a report measures of a lifter: its errors on people it has not seen, and what disturbs it.

Everything is drawn with fixed seeds, so a figure is one number for ever. Errors are MPJPE and P-MPJPE in mm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from lifter.evaluation import disturbances as disturb
from lifter.evaluation import metrics
from lifter.evaluation.footage import asymmetry, bone_variation
from lifter.evaluation.reader import Place, Reader
from lifter.synthesis.fill_gaps import fill_missing_joints
from lifter.synthesis.test_clips import SyntheticClip as Take
from stream.messages import F32

STEP_FRAMES, FIRST_FRAME = 120, 40  # single frames that are lifted: every 2.4 s, after 0.8 s
_SEED = 40_000
F64 = NDArray[np.float64]
Lift = Callable[[Take], F32]


@dataclass(slots=True)
class Errors:
    """MPJPE and P-MPJPE (frames, 2) mm of every take."""

    groups: list[str] = field(default_factory=list)
    frames: list[F64] = field(default_factory=list)
    steady: list[F64] = field(default_factory=list)

    def add(self, take: Take, poses: F32, truth: F32, whole: bool = False) -> None:
        """Count poses (N, 17, 3) of a take; whole: they are of successive frames."""
        a, b = poses.astype(np.float64), truth.astype(np.float64)
        self.groups.append(group(take))
        self.frames.append(np.stack([metrics.mpjpe(a, b), metrics.p_mpjpe(a, b)], axis=1))
        if whole:
            self.steady.append(steadiness(a, b))

    def mean(self, groups: Sequence[str] | None = None) -> tuple[float, float]:
        """Means over the frames of some groups of takes, or of all."""
        chosen = [f for g, f in zip(self.groups, self.frames, strict=True) if groups is None or g in groups]
        if not chosen:
            return float("nan"), float("nan")
        return tuple(np.concatenate(chosen).mean(axis=0).tolist())

    def mean_steadiness(self, groups: Sequence[str]) -> F64:
        """Means of `steadiness` over the frames of some groups of whole takes."""
        chosen = [place for place, name in enumerate(self.groups) if name in groups]
        weights = [len(self.frames[place]) for place in chosen]
        return np.average([self.steady[place] for place in chosen], axis=0, weights=weights)


def steadiness(poses: F64, truth: F64) -> F64:
    """Of successive poses (L, 17, 3): velocity error, acceleration, the truth's acceleration, bones, sides.

    In mm per frame, mm per frame squared; bones: how their lengths vary over time, percent; sides: by how
    much the left and the right bone of a limb differ, mm.
    """
    return np.array(
        [
            metrics.mpjve(poses, truth).mean(),
            metrics.acceleration(poses, truth).mean(),
            metrics.acceleration(truth, truth).mean(),
            bone_variation(poses),
            asymmetry(poses),
        ]
    )


def group(take: Take) -> str:
    """The first word of a source's name: the database a take comes from."""
    return take.source.partition("_")[0]


def every_frame(takes: Sequence[Take], lift: Lift) -> Errors:
    """Errors of all frames of the poses that `lift` finds."""
    errors = Errors()
    for take in takes:
        errors.add(take, lift(take), take.truth, whole=True)
    return errors


def seen(reader: Reader) -> Lift:
    """Lifts what the detector saw."""
    return lambda take: reader.every(take.keypoints, take.size_wh)


def exact(reader: Reader) -> Lift:
    """Lifts the projections of the true joints."""
    return lambda take: reader.every(take.exact(), take.size_wh)


def on_rays(take: Take) -> F32:
    """Every joint (L, 17, 3) where the detector saw it, at its true depth: what its errors alone do."""
    keypoints = torch.from_numpy(take.keypoints[None])
    seen = fill_missing_joints(keypoints[..., :2], keypoints[..., 2] > 0)[0].numpy()
    metres_px = (take.truth[..., 2:] + take.root[:, None, 2:]) / (take.camera[0] * take.size_wh[0] / 2)
    poses = take.truth.copy()
    poses[..., :2] += (seen - take.clean) * metres_px
    return poses - poses[:, :1]


def single_frames(takes: Sequence[Take], reader: Reader, place: Place) -> Errors:
    """Errors of frames that are in the centre of their window, or its newest, as the detector saw them."""
    errors = Errors()
    for take in takes:
        frames = np.arange(FIRST_FRAME, len(take.truth), STEP_FRAMES)
        if len(frames):
            poses = reader.at(take.keypoints, take.size_wh, frames, place)
            errors.add(take, poses, take.truth[frames])
    return errors


def detector_errors(takes: Sequence[Take]) -> tuple[float, float]:
    """Median distance in mm, at the person, of what the detector sees from where it is; percent it misses."""
    seen = [take.keypoints[..., 2] > 0 for take in takes]
    away = [
        np.linalg.norm(take.keypoints[..., :2] - take.clean, axis=-1) / take.metre_px[:, None]
        for take in takes
    ]
    apart = np.concatenate([a[s] for a, s in zip(away, seen, strict=True)])
    missed = 100 * (1 - np.concatenate([s.ravel() for s in seen]).mean())
    return float(metrics.MM * np.median(apart)), float(missed)


def by_size(takes: Sequence[Take], errors: Errors, edges: Sequence[float]) -> list[tuple[float, int]]:
    """MPJPE and number of frames in which people span up to so much of the image's height."""
    size = np.concatenate([np.ptp(take.clean, axis=1).max(axis=1) / take.size_wh[1] for take in takes])
    mpjpe = np.concatenate(errors.frames)[:, 0]
    bin_of = np.digitize(size, edges)
    parts = [mpjpe[bin_of == number] for number in range(len(edges) + 1)]
    return [(float(part.mean()) if len(part) else float("nan"), len(part)) for part in parts]


HALVES = {"legs and hips out of the picture": disturb.LOWER_BODY, "right half hidden": disturb.RIGHT_SIDE}


def halves(takes: Sequence[Take], reader: Reader) -> dict[str, tuple[float, float]]:
    """MPJPE of people half hidden: of all joints, and of those that are visible about their middle."""
    answers = {}
    for name, joints in HALVES.items():
        rest = [joint for joint in range(17) if joint not in joints]
        everything, visible = [], []
        for take in takes:
            poses = reader.every(disturb.hidden(take.exact(), joints), take.size_wh).astype(np.float64)
            everything.append(metrics.mpjpe(poses, take.truth.astype(np.float64)))
            apart: F64 = (poses - take.truth.astype(np.float64))[:, rest]
            visible.append(metrics.mpjpe(apart, apart.mean(axis=1, keepdims=True)))
        answers[name] = float(np.concatenate(everything).mean()), float(np.concatenate(visible).mean())
    return answers


@dataclass(frozen=True, slots=True)
class Curve:
    """Errors against how much of one disturbance there is."""

    name: str
    unit: str
    levels: tuple[float, ...]
    errors: tuple[tuple[float, float], ...]


def curves(takes: Sequence[Take], reader: Reader, quick: bool = False) -> list[Curve]:
    """Errors with joints missing, with outliers, and with ever more of the detector's errors."""

    def generator(take: int) -> torch.Generator:
        return torch.Generator().manual_seed(_SEED + take)

    def lifted(disturbed: Callable[[int, Take], F32]) -> tuple[float, float]:
        number = {id(take): place for place, take in enumerate(takes)}
        return every_frame(
            takes, lambda take: reader.every(disturbed(number[id(take)], take), take.size_wh)
        ).mean()

    plans: list[tuple[str, str, tuple[float, ...], Callable[[float], Callable[[int, Take], F32]]]] = [
        ("joints missing", "%", (0, 10, 20, 30, 40, 50),
         lambda p: lambda i, take: disturb.missing(take.exact(), p / 100, generator(i))),
        ("outliers", "%", (0, 5, 10, 20),
         lambda p: lambda i, take: disturb.outliers(take, p / 100, generator(i))),
        ("the detector's errors", "x", (0, 1, 2, 3), lambda k: lambda i, take: disturb.noisy(take, k)),
    ]  # fmt: skip
    answers = []
    for name, unit, levels, disturbed in plans:
        levels = levels[:: len(levels) - 1] if quick else levels
        answers.append(Curve(name, unit, levels, tuple(lifted(disturbed(level)) for level in levels)))
    return answers


def rates(takes: Sequence[Take], reader: Reader, factors: Sequence[float]) -> list[tuple[float, float]]:
    """Errors with so many times the frames per second; the clips last as long."""
    return [_errors(takes, reader, partial(disturb.at_rate, factor=factor)) for factor in factors]


def gridded(takes: Sequence[Take], reader: Reader, factors: Sequence[float]) -> list[tuple[float, float]]:
    """As `rates`, but with keypoints interpolated at the times of the take's own frames before lifting."""

    def back(take: Take, factor: float) -> tuple[F32, F32]:
        keypoints = disturb.resampled(disturb.at_rate(take, factor)[0], 1 / factor)
        return keypoints, take.truth[: len(keypoints)]

    return [_errors(takes, reader, partial(back, factor=factor)) for factor in factors]


def rolled(takes: Sequence[Take], reader: Reader, degrees: float) -> tuple[float, float]:
    """Errors with the camera turned around its viewing axis."""
    return _errors(takes, reader, partial(disturb.rolled, degrees=degrees))


def _errors(
    takes: Sequence[Take], reader: Reader, changed: Callable[[Take], tuple[F32, F32]]
) -> tuple[float, float]:
    """Mean errors over all frames, with the keypoints and the truth that `changed` makes of a take."""
    errors = Errors()
    for take in takes:
        keypoints, truth = changed(take)
        errors.add(take, reader.every(keypoints, take.size_wh), truth)
    return errors.mean()


def mirror_gap(takes: Sequence[Take], reader: Reader) -> float:
    """Mean distance of joints, mm, between the pose of the mirrored input and the mirrored pose."""
    gaps = []
    for take in takes:
        straight = disturb.mirror(reader.every(take.keypoints, take.size_wh))
        turned = reader.every(disturb.mirrored(take.keypoints, take.size_wh[0]), take.size_wh)
        gaps.append(metrics.mpjpe(straight.astype(np.float64), turned.astype(np.float64)))
    return float(np.concatenate(gaps).mean())


def unrest(takes: Sequence[Take], reader: Reader, errors: bool) -> float:
    """How far the joints of somebody who stands still move per frame, mm; errors: seen by the detector."""
    moves = []
    for take in takes:
        poses = reader.every(disturb.held(take, reader.spec.frames, errors), take.size_wh)
        moves.append(metrics.MM * np.linalg.norm(np.diff(poses.astype(np.float64), axis=0), axis=-1).mean())
    return float(np.mean(moves))
