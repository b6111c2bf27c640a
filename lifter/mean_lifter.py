"""The mean of several lifters' poses, for files: their errors differ, so the mean errs less than each."""

from collections.abc import Sequence

import numpy as np

from lifter.runner import Runner
from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.messages import F32, Window


class MeanLifter:
    """Lifts every window with each of the lifters; costs as much as all of them.

    Raises ConfigError for lifters of different windows.
    """

    def __init__(self, lifters: Sequence[Runner]) -> None:
        shapes = {(r.spec.frames, r.spec.rate_hz, r.spec.skeleton, r.spec.output) for r in lifters}
        if len(shapes) != 1:
            raise ConfigError(f"the mean of lifters: expected windows of the same kind, got {sorted(shapes)}")
        self._lifters = tuple(lifters)

    @property
    def spec(self) -> LifterSpec:
        """The spec of the first lifter."""
        return self._lifters[0].spec

    def warm_up(self) -> None:
        for runner in self._lifters:
            runner.warm_up()

    def lift(self, windows: Sequence[Window], last: int | None = None) -> F32:
        """The mean poses (B, F, J, 3) float32, as in `stream.protocols.Lifter`."""
        mean: F32 = np.mean(
            [runner.lift(windows, last) for runner in self._lifters], axis=0, dtype=np.float32
        )
        return mean
