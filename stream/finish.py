"""What is done to pose frames after lifting and before sending, one step after the other.

A step is called with every pose frame of a source, in order of capture, and answers with the frame to
send on. It keeps its state per person and forgets a person whose state is "lost". Every pose that is not
lost comes with its `kp2d`, whether they are published or not.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from stream.messages import PoseFrame


class Step(Protocol):
    """One improvement of pose frames, for one source."""

    def finish(self, frame: PoseFrame) -> PoseFrame: ...


class Finish:
    """The steps of every source: `make(source, size_wh)` is called for each, so that no state is shared.

    size_wh is of the source's images; when a camera changes its resolution, its steps start anew.
    """

    def __init__(self, make: Callable[[str, tuple[int, int]], Sequence[Step]]) -> None:
        self._make = make
        self._steps: dict[str, tuple[tuple[int, int], Sequence[Step]]] = {}

    def finish(self, frame: PoseFrame, size_wh: tuple[int, int]) -> PoseFrame:
        source = frame.header.source
        if source not in self._steps or self._steps[source][0] != size_wh:
            self._steps[source] = size_wh, self._make(source, size_wh)
        for step in self._steps[source][1]:
            frame = step.finish(frame)
        return frame


class WithoutKeypoints:
    """The last step where 2D keypoints are not wanted by subscribers."""

    def finish(self, frame: PoseFrame) -> PoseFrame:
        return dataclasses.replace(
            frame, persons=tuple(dataclasses.replace(person, kp2d=None) for person in frame.persons)
        )
