"""`poselift report`: everything that is said of a lifter, measured by one command.

    found = measure("small", Path("DIR"), beside={"tcn": "tcn.safetensors"}, footage=videos)
    print(dossier_page.card(found))

DIR holds motion_test.npz, and motion_train.npz for the mean poses.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

import lifter
from lifter import weights
from lifter.data import mocap as motion
from lifter.evaluation import robustness as exam
from lifter.evaluation.footage import Footage, Marks, bone_variation, live, marks, offline
from lifter.evaluation.mean_pose import mean_poses
from lifter.evaluation.reader import Reader, shorter, unpruned
from lifter.evaluation.robustness import Errors
from lifter.paper import flops
from lifter.spec import LifterSpec
from lifter.synthesis.body_shapes import BODY_SHAPES
from lifter.synthesis.test_clips import SyntheticClip as Take
from lifter.synthesis.test_clips import synthetic_clips
from stream.errors import ConfigError
from stream.messages import F32

TEST, TRAIN = "motion_test.npz", "motion_train.npz"
DISTURBED_EVERY = 4  # clips that are disturbed
QUICK_EVERY = 40
RATES_HZ = (25, 30, 50, 60)
SIZES = (0.2, 0.4, 0.8)  # of the image's height
ROLL_DEGREES = 10.0
ON_RAYS = "the detector's keypoints at true depth"
Extent = Literal["full", "brief", "quick"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Errors of one model on the test people; None where there is no window to be at a place of."""

    name: str
    parameters: int | None
    gflops: float | None
    every: Errors
    exact: Errors | None = None
    centre: Errors | None = None
    newest: Errors | None = None


@dataclass(frozen=True, slots=True)
class Film:
    """What was measured on real videos: rows by name, a mark per video."""

    videos: list[str]
    frames: list[int]
    rows: dict[str, list[Marks]]
    truth: list[tuple[float, float]]  # how bones vary in percent, acceleration


@dataclass(frozen=True, slots=True)
class Disturbed:
    """What was measured on a part of the clips, one thing at a time."""

    clips: int
    seen: tuple[float, float]
    exact: tuple[float, float]
    halves: dict[str, tuple[float, float]]
    curves: list[exam.Curve]
    rates: list[tuple[float, float]]
    gridded: list[tuple[float, float]]
    rolled: tuple[float, float]
    mirror_gap: float
    still: float
    still_seen: float
    bodies: dict[str, tuple[tuple[float, float], tuple[float, float]]]  # seen by the detector, exact 2D


@dataclass(frozen=True, slots=True)
class Dossier:
    """All figures of a report."""

    spec: LifterSpec
    clips: dict[str, tuple[int, int]]  # group -> clips, frames
    single: int  # frames lifted on their own
    detector: tuple[float, float]  # see `exam.detector_errors`
    known: list[str]  # groups that the training data has too
    models: list[Accuracy]
    sizes: list[tuple[float, int]]
    disturbed: Disturbed | None
    film: Film | None


def measure(
    name: str | Path,
    data: Path,
    beside: Mapping[str, str | Path] | None = None,
    footage: Sequence[Footage] = (),
    sent: Callable[[Footage], F32] | None = None,
    extent: Extent = "full",
    say: Callable[[str], None] = print,
) -> Dossier:
    """Measure weights (packaged, or a file) on the motion capture in `data` and on real videos.

    beside: other weights by the names they shall have. sent: the poses that leave the daemon. extent: "full";
    "brief", no disturbances; or "quick", few clips, to see that it works.
    """
    reader = _reader(name)
    others = {other: _reader(path) for other, path in (beside or {}).items()}
    say("making the test clips")
    everything = list(synthetic_clips(data / TEST, QUICK_EVERY if extent == "quick" else 1))
    some = everything[:: 1 if extent == "quick" else DISTURBED_EVERY]
    models = _models(reader, others, everything, say)
    models.append(Accuracy(ON_RAYS, None, None, exam.every_frame(everything, exam.on_rays)))
    groups = sorted({exam.group(take) for take in everything})
    known = groups
    if (data / TRAIN).is_file():
        say("mean poses")
        models += _mean_poses(data / TRAIN, everything)
        trained = {source.partition("_")[0] for source in motion.read_mocap(data / TRAIN).source}
        known = [group for group in groups if group in trained] or groups
    disturbed = None
    if extent != "brief":
        say("disturbances")
        every = QUICK_EVERY if extent == "quick" else DISTURBED_EVERY
        disturbed = _disturbed(some, reader, extent == "quick", partial(synthetic_clips, data / TEST, every))
    return Dossier(
        reader.spec,
        {group: _count(everything, group) for group in groups},
        sum(len(frames) for frames in models[0].newest.frames) if models[0].newest else 0,
        exam.detector_errors(everything),
        known,
        models,
        exam.by_size(everything, models[0].every, SIZES),
        disturbed,
        _film(footage, {reader.spec.name: reader} | others, sent) if footage else None,
    )


def _models(
    reader: Reader, others: Mapping[str, Reader], everything: Sequence[Take], say: Callable[[str], None]
) -> list[Accuracy]:
    """The lifter, itself without pruning and with a shorter window, and the others."""
    own = {reader.spec.name: reader}
    whole, short = unpruned(reader), shorter(reader)
    if whole:
        own["the same weights, no frame pruned"] = whole
    if short:
        own[f"the same weights, windows of {short.spec.frames} frames"] = short
    models = []
    for title, each in (own | dict(others)).items():
        say(f"errors of {title}")
        models.append(_accuracy(title, each, everything, alone=each is not whole))
    return models


def _mean_poses(path: Path, everything: Sequence[Take]) -> list[Accuracy]:
    names = ("mean pose", "mean pose of the true facing")
    return [
        Accuracy(name, None, None, exam.every_frame(everything, mean.of))
        for name, mean in zip(names, mean_poses(path), strict=True)
    ]


def _reader(name: str | Path) -> Reader:
    return Reader(*weights.load(lifter.weights_path(name)))


def _accuracy(name: str, reader: Reader, everything: Sequence[Take], alone: bool = True) -> Accuracy:
    """Errors of a model; alone: also of frames on their own."""
    whole = flops.count(reader.spec)[0]
    return Accuracy(
        name,
        whole.parameters,
        whole.all_flops / 1e9,
        exam.every_frame(everything, exam.seen(reader)),
        exam.every_frame(everything, exam.exact(reader)),
        exam.single_frames(everything, reader, "centre") if alone else None,
        exam.single_frames(everything, reader, "newest") if alone else None,
    )


def _disturbed(
    some: Sequence[Take], reader: Reader, quick: bool, of_body: Callable[[str], Iterable[Take]]
) -> Disturbed:
    curves = exam.curves(some, reader, quick)
    factors = [rate / some[0].rate_hz for rate in RATES_HZ]
    return Disturbed(
        clips=len(some),
        seen=exam.every_frame(some, exam.seen(reader)).mean(),
        exact=curves[0].errors[0],
        halves=exam.halves(some, reader),
        curves=curves,
        rates=exam.rates(some, reader, factors),
        gridded=exam.gridded(some, reader, factors),
        rolled=exam.rolled(some, reader, ROLL_DEGREES),
        mirror_gap=exam.mirror_gap(some, reader),
        still=exam.unrest(some, reader, errors=False),
        still_seen=exam.unrest(some, reader, errors=True),
        bodies={body: _both(list(of_body(body)), reader) for body in BODY_SHAPES},
    )


def _both(some: Sequence[Take], reader: Reader) -> tuple[tuple[float, float], tuple[float, float]]:
    """Errors as the detector saw them, and with exact 2D."""
    ways = (exam.seen(reader), exam.exact(reader))
    return exam.every_frame(some, ways[0]).mean(), exam.every_frame(some, ways[1]).mean()


def _film(
    footage: Sequence[Footage], readers: Mapping[str, Reader], sent: Callable[[Footage], F32] | None
) -> Film:
    rows = {"the detector's own 3D": [marks(each.world, each) for each in footage]}
    for name, reader in readers.items():
        rows[f"{name}, offline"] = [marks(offline(reader, each), each) for each in footage]
        rows[f"{name}, newest frame"] = [marks(live(reader, each), each) for each in footage]
        if sent and len(rows) == 3:
            rows[f"{name}, as sent live"] = [marks(sent(each), each) for each in footage]
    truth = [(bone_variation(each.truth), marks(each.truth, each).acceleration) for each in footage]
    return Film([each.name for each in footage], [len(each.truth) for each in footage], rows, truth)


def _count(everything: Sequence[Take], group: str) -> tuple[int, int]:
    lengths = [len(take.truth) for take in everything if exam.group(take) == group]
    return len(lengths), int(np.sum(lengths))


def pairs(given: Sequence[str]) -> dict[str, Path]:
    """Weights by name, of NAME=FILE words."""
    answers = {}
    for word in given:
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise ConfigError(f"--beside: expected NAME=FILE, got {word!r}")
        answers[name] = Path(file)
    return answers
