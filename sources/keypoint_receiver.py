"""What the network sources share: payloads in, keypoint frames out, junk counted."""

import logging
from dataclasses import replace

from stream import skeletons
from stream.errors import ConfigError, DecodeError, ShapeError
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext
from stream.wire.codec import decode_keypoints

log = logging.getLogger("poselift")

_AHEAD_S = 0.5  # clocks kept by NTP differ by less


class Receiver:
    """Reads `keypoints2d` messages and watches for silence.

    captured_unix_ns is the sender's; captured_ns is now minus the message's age by both machines'
    wall clocks, and never later than now. Messages keep their own source names; one without gets
    this source's. What is no message of ours is dropped and counted, and said once; so is a sender whose
    clock is ahead, for the ages that follow from it are wrong.
    """

    def __init__(self, context: ComponentContext, timeout_s: float) -> None:
        self._context = context
        self._timeout_s = timeout_s
        self._received = self._junk = self._ahead = 0
        self._heard_ns = context.clock.now_ns()

    def start(self) -> None:
        self._heard_ns = self._context.clock.now_ns()

    def frame(self, payload: bytes) -> KeypointFrame | None:
        """The frame in `payload`, or None when there is none."""
        name = self._context.name
        self._received += 1
        try:
            frame = decode_keypoints(payload, self._context.clock, seq=self._received - 1)
            if not frame.header.source:
                frame = replace(frame, header=replace(frame.header, source=name))
            skeletons.check(frame)
        except (DecodeError, ConfigError, ShapeError) as error:
            self._junk += 1
            self._context.health.increment(name, "drop.junk")
            if self._junk == 1:
                log.warning("%s: dropped a message, and from now on only counts such: %s", name, error)
            return None
        self._heard_ns = self._context.clock.now_ns()
        self._compare_clocks(frame)
        return frame

    def _compare_clocks(self, frame: KeypointFrame) -> None:
        ahead_s = (frame.header.captured_unix_ns - self._context.clock.unix_ns()) / 1e9
        if ahead_s < _AHEAD_S:
            return
        self._ahead += 1
        self._context.health.increment(self._context.name, "from_the_future")
        if self._ahead == 1:
            log.warning(
                "%s: the clock of %s is %.1f s ahead of this machine's; ages are wrong until they agree",
                *(self._context.name, frame.header.source, ahead_s),
            )

    def silence(self) -> str | None:
        """What to say when nothing useful came for `timeout_s`; None while all is well."""
        silent_s = (self._context.clock.now_ns() - self._heard_ns) / 1e9
        if silent_s <= self._timeout_s:
            return None
        junk = f" ({self._junk} messages were no keypoints)" if self._junk else ""
        return f"no keypoints for {silent_s:.1f} s{junk}"
