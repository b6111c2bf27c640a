"""The lifter of a pipeline that has its windows lifted by a lifter service, and its behaviour without one.

Windows travel whole: the service keeps no state of any person, so it can be restarted at any time, and its
poses are those of a local lifter. benchmarks/lifter_service.py measures what the alternative, sending new
frames only, would save and cost.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import zmq

from lifter.spec import MAX_WINDOWS, LifterSpec
from stream.clock import Backoff, Clock, SystemClock
from stream.config.lifter import LifterSettings
from stream.errors import ConfigError, DecodeError, LifterUnavailable
from stream.health import Health
from stream.messages import F32, Window
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog
from stream.runtime import lifter_protocol as protocol
from stream.security import client_keys

if TYPE_CHECKING:
    from lifter.runner import Runner

log = logging.getLogger("poselift")

NAME = "lifter-service"  # in health reports
_START_S = 3.0  # how long the start waits for the service
_RECONNECT_MS = 50
_QUEUE = 4  # messages


class RemoteLifter:
    """Lifts through the service at `settings.endpoint`; use it from one thread at a time.

    spec: of the weights of the settings, which the service must have too. local: lifts while the service is
    away; without it `lift` raises LifterUnavailable then, and the pipeline lifts later, more frames at once.
    Whatever happens, `lift` returns or raises within `settings.timeout_ms` and the time of the local lifter.
    """

    def __init__(
        self,
        settings: LifterSettings,
        spec: LifterSpec,
        local: "Runner | None" = None,
        clock: Clock | None = None,
    ) -> None:
        if settings.endpoint is None:
            raise ConfigError("lifter.endpoint: expected the address of a lifter service, got none")
        self.spec = spec
        self.endpoint = settings.endpoint
        self._model = protocol.model_of(spec)
        self._timeout_ms = settings.timeout_ms
        self._keys = client_keys(settings.curve_secret_file, settings.curve_server_file)
        self._local = local
        self._clock = clock or SystemClock()
        self._health = Health()
        self._log = RateLimitedLog(self._clock)
        self._backoff = Backoff(0.1, 2.0)
        self._number = 0
        self._welcomed = False
        self._retry_ns = 0
        self._hello_ns: int | None = None  # when an unanswered hello was sent
        # The context of the process, which is never terminated: the lifter is used until it is garbage.
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket = self._connected()

    def count_in(self, context: ComponentContext) -> None:
        """Count in the health of this pipeline from now on, and show the service's state there."""
        self._health = context.health
        self._set_state()

    def warm_up(self) -> None:
        """Prepare the local lifter, and wait up to _START_S for the service; a missing one is no error.

        ConfigError when the service has another model.
        """
        if self._local is not None:
            self._local.warm_up()
        until_ns = self._clock.now_ns() + round(_START_S * 1e9)
        while not self._welcomed and self._clock.now_ns() < until_ns:
            if reason := self._greet(wait_ms=50):
                raise ConfigError(reason)
        if not self._welcomed:
            self._warn("no answer yet")

    def lift(self, windows: Sequence[Window], last: int | None = None) -> F32:
        """Poses as of `lifter.runner.Runner.lift`; LifterUnavailable while neither lifter can be used."""
        if not self._welcomed and (reason := self._greet()):
            self._warn(reason)
        if not self._welcomed:
            return self._lift_locally(windows, last, "it is away")
        frames = self.spec.frames if last is None else last
        parts = []
        for first in range(0, len(windows), MAX_WINDOWS):
            poses = self._request(windows[first : first + MAX_WINDOWS], frames)
            if isinstance(poses, str):
                return self._lift_locally(windows, last, poses)
            parts.append(poses)
        self._health.increment(NAME, "windows", len(windows))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    # Requests

    def _request(self, windows: Sequence[Window], last: int) -> F32 | str:
        """Poses of the service; the reason, if there are none within the time limit."""
        self._number += 1
        sizes_wh = [window.size_wh for window in windows]
        header = protocol.Lift(self._number, self._model.key, last, self._timeout_ms, sizes_wh)
        keypoints = np.ascontiguousarray([window.keypoints for window in windows], "<f4")
        if not self._send(protocol.encode(header), keypoints.tobytes()):
            return self._lose("it does not take requests")
        until_ns = self._clock.now_ns() + round(self._timeout_ms * 1e6)
        while (remaining_ms := (until_ns - self._clock.now_ns()) / 1e6) > 0:
            if not self._socket.poll(max(1, round(remaining_ms))):
                continue
            try:
                answer, payload = self._receive()
                if answer.number != self._number:
                    continue
                if isinstance(answer, protocol.Poses):
                    return self._poses(payload, len(windows), last)
            except DecodeError as error:
                return self._lose(f"its answer cannot be read: {error}")
            if isinstance(answer, protocol.Refused):
                if not answer.busy:
                    return self._lose(answer.reason)
                self._health.increment(NAME, "refused")
                return answer.reason
        return self._lose(f"no answer within {self._timeout_ms:g} ms")

    def _poses(self, payload: bytes, windows: int, last: int) -> F32:
        if len(payload) != (size := protocol.array_bytes(windows, last, self.spec.joints)):
            raise DecodeError(f"expected {size} bytes of poses, got {len(payload)}")
        poses = np.frombuffer(payload, "<f4").reshape(windows, last, self.spec.joints, 3)
        return poses.astype(np.float32)  # a copy that may be written to

    def _lift_locally(self, windows: Sequence[Window], last: int | None, reason: str) -> F32:
        if self._local is None:
            self._health.increment(NAME, "postponed")
            raise LifterUnavailable(f"lifter service at {self.endpoint}: {reason}")
        self._health.increment(NAME, "lifted_locally", len(windows))
        return self._local.lift(windows, last)

    # Connection

    def _greet(self, wait_ms: int = 0) -> str:
        """Ask for the service's model again after a delay, and read the answer; "" or why it is of no use."""
        now_ns = self._clock.now_ns()
        if self._hello_ns is None:
            if now_ns < self._retry_ns:
                self._socket.poll(wait_ms)
                return ""
            self._number += 1
            if self._send(protocol.encode(protocol.Hello(self._number))):
                self._hello_ns = now_ns
        elif now_ns - self._hello_ns > max(2.0, self._timeout_ms / 1e3) * 1e9:
            return self._lose("no answer")
        while self._socket.poll(wait_ms):
            try:
                answer, _ = self._receive()
            except DecodeError as error:
                return self._lose(f"its answer cannot be read: {error}")
            if answer.number == self._number and isinstance(answer, protocol.Welcome):
                return self._on_welcome(answer)
        return ""

    def _on_welcome(self, answer: protocol.Welcome) -> str:
        if answer.model.key != self._model.key:
            return self._lose(
                f"lifter.endpoint: expected a service of {self._model.text()}, got {answer.model.text()} at "
                f"{self.endpoint}; give both the same weights"
            )
        self._welcomed = True
        self._backoff.reset()
        self._set_state()
        log.info("lifter service at %s: %s on %s", self.endpoint, answer.model.text(), answer.computed_on)
        return ""

    def _lose(self, reason: str) -> str:
        """Forget the connection and what was sent on it; returns the reason."""
        if self._welcomed:
            self._health.increment(NAME, "lost")
            self._warn(reason)
        self._welcomed, self._hello_ns = False, None
        self._retry_ns = self._clock.now_ns() + round(self._backoff.next_delay_s() * 1e9)
        self._set_state(reason)
        self._socket.close(linger=0)
        self._socket = self._connected()
        return reason

    def _warn(self, reason: str) -> None:
        remedy = "frames wait for it" if self._local is None else "the local lifter takes its place"
        self._log.warning("away", "lifter service at %s: %s; %s", self.endpoint, reason, remedy)

    def _set_state(self, reason: str = "") -> None:
        state = "ok" if self._welcomed else "retrying"
        self._health.set_state(NAME, state, reason or self.endpoint)

    def _connected(self) -> "zmq.Socket[bytes]":
        socket = self._zmq.socket(zmq.DEALER)
        socket.set(zmq.IMMEDIATE, 1)  # without a connection sending fails at once
        socket.set(zmq.SNDHWM, _QUEUE)
        socket.set(zmq.RCVHWM, _QUEUE)
        socket.set(zmq.MAXMSGSIZE, protocol.max_message_bytes(self._model))
        socket.set(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.set(zmq.LINGER, 0)
        if self._keys is not None:
            self._keys.apply(socket)
        try:
            socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            raise ConfigError(
                f"lifter.endpoint: expected an address like tcp://127.0.0.1:5560, got {self.endpoint!r}: "
                f"{error}"
            ) from None
        return socket

    def _send(self, *parts: bytes) -> bool:
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _receive(self) -> tuple[protocol.Answer, bytes]:
        header, *payload = self._socket.recv_multipart()
        if len(payload) > 1:
            raise DecodeError(f"expected one or two parts, got {1 + len(payload)}")
        return protocol.decode_answer(header), b"".join(payload)
