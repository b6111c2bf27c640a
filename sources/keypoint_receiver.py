"""Decoding of received keypoint messages, shared by the network sources."""

import logging
from dataclasses import replace

from stream import skeletons
from stream.errors import ConfigError, DecodeError, ShapeError
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext
from stream.wire.codec import decode_keypoints

log = logging.getLogger("poselift")

MAX_CLOCK_LEAD_S = 0.5  # clocks synchronised by NTP differ by less


class KeypointReceiver:
    """Decodes `keypoints2d` messages and measures the time without any.

    captured_unix_ns of a frame is the sender's. captured_ns is now minus the message's age by the wall
    clocks of both machines, and never later than now. A message without a source name gets this source's.
    Invalid messages are dropped and counted, and the first is logged; so is a sender whose clock is ahead,
    because it makes the ages wrong.
    """

    def __init__(self, context: ComponentContext, timeout_s: float) -> None:
        self._context = context
        self._timeout_s = timeout_s
        self._messages = self._invalid = self._from_future = 0
        self._last_frame_ns = context.clock.now_ns()

    def start(self) -> None:
        """Count the time without messages from now on."""
        self._last_frame_ns = self._context.clock.now_ns()

    def decode(self, payload: bytes) -> KeypointFrame | None:
        """The frame in `payload`, or None when it is not a valid message."""
        name = self._context.name
        self._messages += 1
        try:
            frame = decode_keypoints(payload, self._context.clock, seq=self._messages - 1)
            if not frame.header.source:
                frame = replace(frame, header=replace(frame.header, source=name))
            skeletons.check(frame)
        except (DecodeError, ConfigError, ShapeError) as error:
            self._invalid += 1
            self._context.health.increment(name, "drop.junk")
            if self._invalid == 1:
                log.warning("%s: dropped an invalid message; further ones are only counted: %s", name, error)
            return None
        self._last_frame_ns = self._context.clock.now_ns()
        self._compare_clocks(frame)
        return frame

    def _compare_clocks(self, frame: KeypointFrame) -> None:
        lead_s = (frame.header.captured_unix_ns - self._context.clock.unix_ns()) / 1e9
        if lead_s < MAX_CLOCK_LEAD_S:
            return
        self._from_future += 1
        self._context.health.increment(self._context.name, "from_the_future")
        if self._from_future == 1:
            log.warning(
                "%s: the clock of %s is %.1f s ahead of this machine's; ages are wrong until they agree",
                *(self._context.name, frame.header.source, lead_s),
            )

    def timeout_message(self) -> str | None:
        """A sentence for SourceLost when no valid message came for `timeout_s`; otherwise None."""
        silent_s = (self._context.clock.now_ns() - self._last_frame_ns) / 1e9
        if silent_s <= self._timeout_s:
            return None
        invalid = f" ({self._invalid} invalid messages)" if self._invalid else ""
        return f"no keypoints for {silent_s:.1f} s{invalid}"
