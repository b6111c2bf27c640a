"""Describes a lifter: its architecture, its window and its pruning schedule. Imports no torch."""

from itertools import pairwise
from typing import Any, Literal

import msgspec

from stream.errors import ConfigError

PRUNERS = ("tps", "tpc", "tpa", "tpmo")
RECOVERERS = ("tri", "tri-tokens", "tra", "centre", "none")
ASSUMED_FOCAL = 0.85  # focal length over the longer image side, between a webcam's and a phone's
MAX_WINDOWS = 32  # windows in one batch; more cost memory and bring no speed


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stages of pruning: stage m keeps `keep[m]` frames at block `at[m]` (r_m and b_m of section 3).

    pruner: how frames are selected (section 3.1): "tps", "tpc", "tpa" or "tpmo".
    recoverer: how the other frames come back (section 3.2). "tri" interpolates poses, "tri-tokens"
    interpolates tokens before the head, and "tra" attends to tokens, all three for all frames (seq2seq).
    "centre" returns the centre frame, which is then always kept and counts in `keep` (seq2frame, section
    3.3.3). "none" returns the kept frames, with the centre among them.

    Raises ConfigError unless counts fall, block indices rise and both names exist.
    """

    keep: tuple[int, ...] = (121, 81)
    at: tuple[int, ...] = (0, 3)
    pruner: str = "tps"
    recoverer: str = "tri"

    def __post_init__(self) -> None:
        for field in ("keep", "at"):
            msgspec.structs.force_setattr(self, field, tuple(int(n) for n in getattr(self, field)))
        keep, at = self.keep, self.at
        if not keep or len(keep) != len(at):
            raise ConfigError(f"schedule: expected as many `keep` as `at`, at least one, got {keep} and {at}")
        if min(keep) < 1 or any(a <= b for a, b in pairwise(keep)):
            raise ConfigError(f"schedule.keep: expected falling frame counts such as (121, 81), got {keep}")
        if min(at) < 0 or any(a >= b for a, b in pairwise(at)):
            raise ConfigError(f"schedule.at: expected rising block indices such as (0, 3), got {at}")
        _check_choice("schedule.pruner", self.pruner, PRUNERS)
        _check_choice("schedule.recoverer", self.recoverer, RECOVERERS)

    def check(self, frames: int, depth: int) -> None:
        """Raise ConfigError unless the schedule fits a window of `frames` and `depth` blocks."""
        if self.keep[0] > frames:
            raise ConfigError(f"schedule.keep: expected at most {frames} frames, got {self.keep}")
        if self.at[-1] >= depth:
            raise ConfigError(f"schedule.at: expected block indices below {depth}, got {self.at}")


def frames_in_blocks(schedule: Schedule | None, frames: int, depth: int) -> list[int]:
    """Number of frames that each of the `depth` blocks processes, after the prune at that block."""
    stages = {} if schedule is None else dict(zip(schedule.at, schedule.keep, strict=True))
    counts = []
    for block in range(depth):
        frames = stages.get(block, frames)
        counts.append(frames)
    return counts


class LifterSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a lifter that must travel with its weights.

    arch: a name in `lifter.weights.ARCHS`. config: further constructor arguments of that architecture.
    frames, rate_hz: a window has F frames at this rate. joints: J, in `skeleton` order.
    in_channels: values per joint, x and y, then score, then nearness (see `lifter.normalise`).
    output: "sequence" gives a pose for every frame, "centre" for the middle frame of the window.
    normalise: how pixels become input and output becomes metres (see `lifter.normalise`).
    sha256: digest of the weights alone, filled in by `lifter.weights.save`.

    Raises ConfigError for values out of range.
    """

    name: str
    arch: str = "mixste"
    frames: int = 243
    joints: int = 17
    in_channels: int = 2
    output: Literal["sequence", "centre"] = "sequence"
    rate_hz: float = 50.0
    skeleton: str = "h36m17"
    normalise: str = "screen"
    schedule: Schedule | None = None
    config: dict[str, Any] = {}
    sha256: str = ""
    licence: str = ""
    trained_on: str = ""

    def __post_init__(self) -> None:
        for field in ("frames", "joints", "in_channels", "rate_hz"):
            if getattr(self, field) <= 0:
                raise ConfigError(f"lifter.{field}: expected more than 0, got {getattr(self, field)}")
        if self.in_channels > 3 and (self.in_channels, self.normalise) != (4, "person"):
            raise ConfigError(
                f"lifter.in_channels: expected 2 or 3, or 4 with normalise: person, got {self.in_channels}"
            )
        _check_choice("lifter.output", self.output, ("sequence", "centre"))

    @property
    def focal(self) -> float | None:
        """Focal length of the virtual camera in longer image sides; None if the lifter assumes none."""
        return ASSUMED_FOCAL if self.normalise == "person" else None


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
