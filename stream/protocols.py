"""What sources, detectors, lifters and sinks must offer. No base classes: having the methods is enough.

All of them are context managers: entering opens, leaving closes, closing twice is harmless.
A component is built as `Component(settings, context)`; `Component.Settings` is a frozen
`msgspec.Struct` and `stream.context.Context` carries its name, clock and health.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from stream.clock import Clock, SystemClock
from stream.health import Health
from stream.messages import F32, Frame, KeypointFrame, Message, Window


class Opens(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class FrameSource(Opens, Protocol):
    """Images from a camera, a file or a stream.

    live: frames come when they come and nothing may hold them up; otherwise they are read as fast
    as they are lifted.
    """

    live: bool

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; None when there is none within `timeout_s`; raises EndOfStream, SourceLost."""
        ...


class Source(Opens, Protocol):
    """2D keypoints from a detector, the network or a recording."""

    live: bool

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next keypoints; None when there are none within `timeout_s`; raises EndOfStream, SourceLost."""
        ...


class Detector(Opens, Protocol):
    """Finds persons in an image."""

    def detect(self, frame: Frame) -> KeypointFrame: ...


class Sink(Opens, Protocol):
    """Hands messages on; `send` may block, since every sink has its own thread."""

    def send(self, message: Message) -> None:
        """Send one message; kinds a sink has no use for are ignored. Raises SinkUnavailable."""
        ...


class Lifter(Protocol):
    """Turns windows of 2D keypoints into 3D poses."""

    @property
    def spec(self) -> Any: ...

    def lift(self, windows: Sequence[Window], last: int | None = None) -> F32:
        """Poses (B, F, J, 3) float32 metres, root-relative, camera axes, for B windows of F frames.

        last: those of so many newest frames alone, (B, last, J, 3), which may be less work.
        """
        ...


@dataclass(frozen=True, slots=True)
class ComponentContext:
    """name: of this component ("cam0"); node: of the daemon; session: one id per run."""

    name: str
    node: str = "poselift"
    session: str = ""
    clock: Clock = field(default_factory=SystemClock)
    health: Health = field(default_factory=Health)
