"""The end of the lift thread's work: what was lifted is finished and sent, and the way there measured."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from stream.arrivals import Due
from stream.context import Context
from stream.emit import Emitter, Lifted
from stream.finish import Finish
from stream.messages import Latency, PoseFrame
from stream.ring import Ring


class Publisher:
    """Makes pose frames of what was lifted, takes them through the last steps and sends them."""

    def __init__(
        self, emitter: Emitter, finish: Finish, send: Callable[[PoseFrame], None], context: Context
    ) -> None:
        self._emitter = emitter
        self._finish = finish
        self._send = send
        self._clock, self._health = context.clock, context.health

    @property
    def lag(self) -> int:
        """Frames of look-ahead."""
        return self._emitter.lag

    def publish(self, due: Due, lifted: Mapping[Ring, Lifted], started_ns: int) -> None:
        """Send the poses of a pass that began at `started_ns` and is lifted now."""
        lifted_ns = self._clock.now_ns()
        dropped = self._health.dropped(due.arrivals[0].header.source)
        frames = self._emitter.frames(due, lifted, started_ns, lifted_ns, dropped)
        for arrival, frame in zip(due.arrivals, frames, strict=True):
            self._hand_on(self._finish.finish(frame, arrival.size_wh), lifted_ns)
        self._health.count("lift", "passes")

    def _hand_on(self, frame: PoseFrame, lifted_ns: int) -> None:
        latency = frame.latency_ms
        post_ms = (self._clock.now_ns() - lifted_ns) / 1e6
        self._health.took("capture", latency.capture)
        self._health.took("detect", latency.detect)
        self._health.took("queue", latency.queue)
        self._health.took("lift", latency.lift)
        self._health.took("post", post_ms)
        self._health.took("hop", frame.hop)
        self._health.count("lift", "frames")
        self._health.count("lift", "poses", len(frame.persons))
        if frame.mode != "offline":  # a file's times say nothing about age
            self._health.took("age", (self._clock.now_ns() - frame.header.captured_ns) / 1e6)
        latency = Latency(latency.capture, latency.detect, latency.queue, latency.lift, post_ms)
        self._send(replace(frame, latency_ms=latency, published_unix_ns=self._clock.unix_ns()))
