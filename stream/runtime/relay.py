"""The relay: publishes the messages of all workers through the sinks of the config, in a single order.

Subscribers keep their address, their topics and their order of messages while workers come and go. A camera
belongs to one worker at a time; messages about it from any other worker are dropped, and so are frames of a
new worker captured before the newest published frame. When a worker ends, each of its people is announced as
lost.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np

from sinks.zeromq import ZeroMQ
from stream.client import MAX_CLOCK_STEP_NS
from stream.clock import Backoff, Clock
from stream.config.load import ComponentConfig
from stream.errors import AddressInUse, DecodeError, SinkUnavailable
from stream.health import Health
from stream.messages import Message, Pose, PoseFrame
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog
from stream.runtime.sink_thread import ADDRESS_WAIT_S, SinkThread
from stream.wire import codec as wire
from stream.wire.schema import Count
from stream.wire.topics import topic_of

log = logging.getLogger("poselift")

_STOP_S = 1.0


class _Head(msgspec.Struct):
    """The keys of a pose3d document that decide whether it is published; the others are not decoded."""

    schema: Literal["pose3d"]
    session: str
    t_capture_ns: Count


_decode_head = msgspec.msgpack.Decoder(_Head).decode


@dataclass(slots=True)
class _Camera:
    """worker: number of the worker that publishes it, None after that worker's end. payload: newest frame."""

    worker: int | None
    captured_unix_ns: int = 0
    published_ns: int = 0
    payload: bytes = b""


class Relay:
    """Publishes messages of workers through `sinks`; use it from one thread.

    ZeroMQ sinks get the bytes that the workers encoded; for the other sinks every message is decoded.
    """

    def __init__(self, sinks: dict[str, ComponentConfig], context: ComponentContext) -> None:
        self._clock, self._health, self._name = context.clock, context.health, context.name
        self._log = RateLimitedLog(context.clock)
        self._cameras: dict[str, _Camera] = {}
        self._publishers: dict[str, _ZeroMQPublisher] = {}
        self._threads: dict[str, SinkThread] = {}
        for name, component in sinks.items():
            sink_context = replace(context, name=name)

            def make(component: ComponentConfig = component, context: ComponentContext = sink_context) -> Any:
                return component.make(component.settings, context)

            if component.make is ZeroMQ:
                self._publishers[name] = _ZeroMQPublisher(make, sink_context)
            else:
                self._threads[name] = SinkThread(name, make, context.clock, context.health, lossless=False)

    def open(self) -> None:
        for publisher in self._publishers.values():
            publisher.open()
        for thread in self._threads.values():
            thread.start()

    def close(self) -> None:
        """Send what is queued and close all sinks."""
        for publisher in self._publishers.values():
            publisher.close()
        for thread in self._threads.values():
            thread.close(0.0)  # all at once; then wait
        for name, thread in self._threads.items():
            if not thread.close(_STOP_S):
                log.warning("did not end in time: sink:%s", name)

    def endpoints(self) -> dict[str, str]:
        """The address or file of every sink; "" for a sink that has none or is not open yet."""
        for thread in self._threads.values():
            thread.wait_until_open(_STOP_S)
        sinks = {name: publisher.sink.endpoint for name, publisher in self._publishers.items()}
        return sinks | {name: thread.endpoint for name, thread in self._threads.items()}

    @property
    def error(self) -> Exception | None:
        """What ended a sink for good, or None."""
        return next((thread.error for thread in self._threads.values() if thread.error), None)

    @property
    def failed(self) -> bool:
        """Whether no sink is left to send to."""
        return not self._publishers and all(thread.error for thread in self._threads.values())

    def forward(self, worker: int, topic: bytes, payload: bytes) -> None:
        """Publish a pose3d or meta message of a worker, unless another worker has its camera."""
        kind, _, name = topic.partition(b"/v1/")
        source = name[:-1].decode()
        camera = self._cameras.get(source)
        if camera is not None and camera.worker not in (worker, None):
            self._health.increment(source, "drop.two_workers")
            return
        if kind != b"pose3d":
            self._publish(topic, payload)
            return
        try:
            head = _decode_head(payload)
        except (ValueError, RecursionError) as error:
            self._refuse(error)
            return
        if self._accept(worker, source, head, payload):
            self._publish(topic, payload, captured_unix_ns=head.t_capture_ns)

    def publish(self, message: Message) -> None:
        """Publish a message of the supervisor itself."""
        self._publish(topic_of(message), wire.encode(message), message)

    def release(self, worker: int) -> None:
        """Announce all people of an ended worker as lost, and give its cameras free for other workers."""
        for source in self._cameras:
            self.release_camera(worker, source)

    def release_camera(self, worker: int, source: str) -> None:
        """As `release`, for one camera of a worker that goes on."""
        camera = self._cameras.get(source)
        if camera is None or camera.worker != worker:
            return
        camera.worker, payload, camera.payload = None, camera.payload, b""
        try:
            frame = wire.decode(payload)
        except DecodeError as error:
            self._refuse(error)
            return
        assert isinstance(frame, PoseFrame)
        lost = _lost(frame, self._clock.now_ns() - camera.published_ns)
        if lost.persons:
            self.publish(wire.with_publish_time(lost, self._clock))
            camera.captured_unix_ns = lost.header.captured_unix_ns

    def _accept(self, worker: int, source: str, head: _Head, payload: bytes) -> bool:
        """Note a frame as the newest of its camera; False if it is older than the last worker's frames."""
        camera = self._cameras.get(source)
        if camera is None:
            camera = self._cameras[source] = _Camera(worker)
        elif camera.worker is None:
            if 0 <= camera.captured_unix_ns - head.t_capture_ns < MAX_CLOCK_STEP_NS:
                self._health.increment(source, "drop.out_of_order")
                return False
            camera.worker = worker
        camera.captured_unix_ns, camera.payload = head.t_capture_ns, payload
        camera.published_ns = self._clock.now_ns()
        return True

    def _refuse(self, error: Exception) -> None:
        self._health.increment(self._name, "drop.decode")
        self._log.warning("decode", "a message of a worker was dropped: %s", error)

    def _publish(
        self,
        topic: bytes,
        payload: bytes,
        message: Message | None = None,
        captured_unix_ns: int | None = None,
    ) -> None:
        for publisher in self._publishers.values():
            publisher.publish(topic, payload, captured_unix_ns)
        if not self._threads:
            return
        if message is None:
            try:
                message = wire.decode(payload)  # type: ignore[assignment]
            except DecodeError as error:
                self._refuse(error)
                return
        for thread in self._threads.values():
            thread.send(message)  # type: ignore[arg-type]


class _ZeroMQPublisher:
    """A ZeroMQ sink without a thread of its own; opened again with backoff while its port is taken."""

    def __init__(self, make: Callable[[], ZeroMQ], context: ComponentContext) -> None:
        self.sink = make()
        self._clock: Clock = context.clock
        self._health: Health = context.health
        self._name = context.name
        self._backoff = Backoff(0.5, 30.0)
        self._is_open = self._was_open = False
        self._retry_ns = 0
        self._address_ns = context.clock.now_ns() + round(ADDRESS_WAIT_S * 1e9)

    def open(self) -> None:
        """Bind the address; a port that is taken is tried again, at the start for up to ADDRESS_WAIT_S.

        Then raises AddressInUse.
        """
        try:
            self.sink.open()
        except SinkUnavailable as error:
            may_wait = self._was_open or self._clock.now_ns() < self._address_ns
            if isinstance(error, AddressInUse) and not may_wait:
                raise
            delay_s = self._backoff.next_delay_s()
            self._retry_ns = self._clock.now_ns() + round(delay_s * 1e9)
            self._health.set_state(self._name, "retrying", str(error))
            log.warning("%s: %s; trying again in %.1f s", self._name, error, delay_s)
            return
        self._is_open = self._was_open = True
        self._health.set_state(self._name, "ok")

    def publish(self, topic: bytes, payload: bytes, captured_unix_ns: int | None) -> None:
        """Send a message; captured_unix_ns: of a pose that may be too old to be sent."""
        if not self._is_open and self._clock.now_ns() >= self._retry_ns:
            self.open()
        if not self._is_open:
            self._health.increment(self._name, "drop.sink_down")
            return
        if captured_unix_ns is not None and self.sink.is_too_old(captured_unix_ns):
            frame = wire.decode(payload)
            assert isinstance(frame, PoseFrame)
            self.sink.send(frame)  # counts it, and sends no more than which persons are lost
            return
        self.sink.send_encoded(topic, payload)
        if topic.startswith(b"pose3d/"):
            self._health.increment(self._name, "sent")

    def close(self) -> None:
        self.sink.close()
        self._is_open = False


def _lost(frame: PoseFrame, silence_ns: int) -> PoseFrame:
    """A frame that announces the people of `frame` as lost, `silence_ns` after it, as the tracker would."""
    present = tuple(person for person in frame.persons if person.state != "lost")
    header = replace(
        frame.header,
        captured_ns=frame.header.captured_ns + silence_ns,
        captured_unix_ns=frame.header.captured_unix_ns + silence_ns,
    )
    return replace(frame, header=header, persons=tuple(map(_lost_pose, present)), published_unix_ns=0)


def _lost_pose(person: Pose) -> Pose:
    joints = len(person.score)
    return Pose(
        person.id,
        "lost",
        np.full((joints, 3), np.nan, np.float32),
        np.zeros(joints, np.float32),
        np.zeros(joints, np.uint8),
    )
