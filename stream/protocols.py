"""Interfaces of sources, detectors, lifters and sinks. No base classes: having the methods is enough.

A component is built as `Component(settings, context)`. `Component.Settings` is a frozen `msgspec.Struct`;
`ComponentContext` carries the component's name, clock and health. Construction checks the settings; `open`
acquires the device, file, connection or thread that the component needs:

    with opened(Synthetic(settings, context)) as source:
        frame = source.read(timeout_s=1.0)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from stream.clock import Clock, SystemClock
from stream.health import Health
from stream.messages import F32, Frame, KeypointFrame, Message, Window
from stream.snapshots import Snapshots


class Openable(Protocol):
    """A component that holds a device, a file, a connection or a thread while it is open."""

    def open(self) -> None:
        """Acquire what the component needs. When this raises, nothing stays open."""
        ...

    def close(self) -> None:
        """Release it. Closing a closed component is harmless."""
        ...


OpenableT = TypeVar("OpenableT", bound=Openable)


@contextmanager
def opened(component: OpenableT) -> Iterator[OpenableT]:
    """Open `component` for the body of a `with` statement, then close it."""
    component.open()
    try:
        yield component
    finally:
        component.close()


class FrameSource(Openable, Protocol):
    """Images from a camera, a video file or a stream.

    live: True when frames arrive at their own pace, so a slow reader loses frames; False when every frame
    is read, as fast as the lifter needs them.
    """

    live: bool

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; None when none arrives within `timeout_s`. Raises EndOfStream, SourceLost."""
        ...


class Source(Openable, Protocol):
    """2D keypoints from a detector, the network or a recording; `live` as in FrameSource."""

    live: bool

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next keypoints; None when none arrive within `timeout_s`. Raises EndOfStream, SourceLost."""
        ...


class Detector(Openable, Protocol):
    """Finds the people in an image and their 2D keypoints."""

    def detect(self, frame: Frame) -> KeypointFrame: ...


class Sink(Openable, Protocol):
    """Sends messages to a robot, an animation tool, a file or a terminal."""

    @property
    def endpoint(self) -> str:
        """Address or file path at which the output can be found; "" when there is none."""
        ...

    @property
    def close_timeout_s(self) -> float:
        """How long `close` may take, for example to write a recording."""
        ...

    def send(self, message: Message) -> None:
        """Send one message, or ignore it when this sink does not handle its kind. Raises SinkUnavailable.

        May block: every sink runs in a thread of its own.
        """
        ...


class LifterDescription(Protocol):
    """What the live pipeline reads of a lifter's spec.

    frames F at rate_hz make one window; joints J are in the order of `skeleton`. output: "sequence" gives a
    pose for every frame of the window, "centre" for the middle frame only. focal: the focal length, in longer
    image sides, for which pixels must be converted before lifting; None when pixels are lifted as they are.
    sha256: of the weights.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def frames(self) -> int: ...
    @property
    def rate_hz(self) -> float: ...
    @property
    def joints(self) -> int: ...
    @property
    def skeleton(self) -> str: ...
    @property
    def output(self) -> Literal["sequence", "centre"]: ...
    @property
    def focal(self) -> float | None: ...


class Lifter(Protocol):
    """Turns windows of 2D keypoints into 3D poses."""

    @property
    def spec(self) -> LifterDescription: ...

    def lift(self, windows: Sequence[Window], last: int | None = None) -> F32:
        """Poses (B, F, J, 3) float32 in metres, relative to the root, camera axes, of B windows of F frames.

        last: return only the newest `last` frames, (B, last, J, 3), which may need less computation.
        """
        ...


@dataclass(frozen=True, slots=True)
class ComponentContext:
    """What every component gets besides its settings.

    name: of this component ("cam0"); node: of the running program; session: id of this run. snapshots: the
    newest images of the cameras of this process.
    """

    name: str
    node: str = "poselift"
    session: str = ""
    clock: Clock = field(default_factory=SystemClock)
    health: Health = field(default_factory=Health)
    snapshots: Snapshots = field(default_factory=Snapshots)
