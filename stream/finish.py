"""What is done to pose frames after lifting and before sending, one step after the other.

A step is called with every pose frame of a source, in order of capture, and answers with the frame to
send on. It keeps its state per person and forgets a person whose state is "lost".
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from stream.messages import PoseFrame


class Step(Protocol):
    """One improvement of pose frames, for one source."""

    def finish(self, frame: PoseFrame) -> PoseFrame: ...


class Finish:
    """The steps of every source; `make` is called for each new source, so that no state is shared."""

    def __init__(self, make: Callable[[str], Sequence[Step]]) -> None:
        self._make = make
        self._steps: dict[str, Sequence[Step]] = {}

    def finish(self, frame: PoseFrame) -> PoseFrame:
        source = frame.header.source
        if source not in self._steps:
            self._steps[source] = self._make(source)
        for step in self._steps[source]:
            frame = step.finish(frame)
        return frame
