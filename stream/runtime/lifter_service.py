"""A lifter service: lifts the windows of many pipelines in common batches, on one model.

One thread reads all requests that have arrived, lifts as many of them as one batch holds, and answers.
Requests that arrive meanwhile form the next batch, so a batch is as large as the load makes it and no request
waits for others on purpose. A client has one request at a time; its next one replaces it.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import zmq

from lifter.spec import MAX_WINDOWS, LifterSpec
from stream.connection_guard import ConnectionGuard
from stream.errors import ConfigError, DecodeError, SinkUnavailable
from stream.keepalive import keep_alive
from stream.messages import F32, Window
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog
from stream.runtime import lifter_protocol as protocol
from stream.security import BindingSettings

log = logging.getLogger("poselift")

DEFAULT_PORT = 5560
NAME = "lifter-service"  # in health reports and log lines
_MAX_CLIENTS = 256  # with a request that waits
_MAX_READ = 512  # messages read in a row, so that a sender that never pauses cannot keep the lifter waiting
_QUEUE = 4  # messages per client and direction
_MAX_WAITING_BYTES = 1 << 28  # of all messages that are not read yet
_REFILL_BYTES_PER_S = 10_000.0  # heartbeats and handshakes


class ServedLifter(Protocol):
    """The lifter of a service, such as a `lifter.runner.Runner`."""

    @property
    def spec(self) -> LifterSpec: ...

    def lift(self, windows: Sequence[Window], last: int | None = None) -> F32: ...


class ServiceSettings(BindingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a lifter service listens.

    host: Address of the network interface to listen on; "0.0.0.0" listens on all.

    port: TCP port; 0 picks a free one.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"{NAME} port: expected 1 to 65535, or 0 for any free one, got {self.port}")
        self.check_binding(NAME, self.host)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits: its client, header and windows, and when it was read."""

    client: bytes
    request: protocol.Lift
    windows: list[Window]
    read_ns: int


class LifterService:
    """Answers the requests of pipelines; `open` it, then call `serve` again and again from one thread.

    computed_on: device, precision and engine, for the clients' logs. The context's health counts `batches`,
    `windows`, `drop.junk` (messages that are no requests), `drop.late` (requests that could not be lifted in
    time) and `drop.replaced`.
    """

    def __init__(
        self,
        lifter: ServedLifter,
        settings: ServiceSettings,
        context: ComponentContext,
        computed_on: str = "",
    ) -> None:
        self.model = protocol.model_of(lifter.spec)
        self.endpoint = ""  # once open
        self._lifter = lifter
        self._settings = settings
        self._context = context
        self._computed_on = computed_on[:200]
        self._log = RateLimitedLog(context.clock)
        self._keys = settings.server_keys()
        self._resources = ExitStack()
        self._socket: zmq.Socket[bytes] | None = None
        self._guard: ConnectionGuard | None = None
        self._waiting: dict[bytes, _Waiting] = {}  # by client, oldest first
        self._batch_ns = 0  # duration of the last batch

    def open(self) -> None:
        """Bind the socket. SinkUnavailable while the port is taken, ConfigError for a wrong host."""
        settings = self._settings
        with ExitStack() as resources:
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            resources.callback(context.term)
            socket = context.socket(zmq.ROUTER)
            resources.callback(socket.close, linger=0)
            socket.set(zmq.MAXMSGSIZE, protocol.max_message_bytes(self.model))
            socket.set(zmq.RCVHWM, _QUEUE)
            socket.set(zmq.SNDHWM, _QUEUE)
            socket.set(zmq.IPV6, int(":" in settings.host))
            keep_alive(socket)
            if self._keys is not None:
                self._keys.apply(socket, resources)
            clock = self._context.clock
            guard = ConnectionGuard(socket, NAME, clock, None, _MAX_WAITING_BYTES, _REFILL_BYTES_PER_S)
            resources.callback(guard.close)
            guard.start()
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            try:
                socket.bind(f"tcp://{host}:{settings.port or '*'}")
            except zmq.ZMQError as error:
                if error.errno == zmq.EADDRINUSE:
                    raise SinkUnavailable(
                        f"{NAME}: port {settings.port} of {settings.host} is taken; end the program that "
                        "uses it or choose another port"
                    ) from None
                raise ConfigError(
                    f"{NAME}: expected the address of one of this machine's interfaces as host, got "
                    f"{settings.host!r}: {error.strerror}"
                ) from None
            self.endpoint = str(socket.get_string(zmq.LAST_ENDPOINT)).rstrip("\0")
            self._socket, self._guard, self._resources = socket, guard, resources.pop_all()

    def close(self) -> None:
        self._socket = self._guard = None
        self._resources.close()
        self._waiting.clear()

    def serve(self, timeout_s: float) -> bool:
        """Read all requests that have arrived, wait up to `timeout_s` for the first, and lift one batch.

        False without a batch.
        """
        self._read(0 if self._waiting else round(timeout_s * 1000))
        if batch := self._next_batch():
            self._lift(batch)
        return bool(batch)

    # Requests

    def _read(self, timeout_ms: int) -> None:
        assert self._socket is not None
        assert self._guard is not None
        for _ in range(_MAX_READ):
            if not self._socket.poll(timeout_ms):
                return
            timeout_ms = 0
            client, *parts = self._socket.recv_multipart()
            self._guard.allow(sum(map(len, parts)) + len(client))
            try:
                self._handle(client, parts)
            except DecodeError as error:
                self._context.health.increment(NAME, "drop.junk")
                self._log.warning("junk", "%s: a message is no request: %s", NAME, error)

    def _handle(self, client: bytes, parts: list[bytes]) -> None:
        if not 1 <= len(parts) <= 2:
            raise DecodeError(f"expected one or two parts, got {len(parts)}")
        request = protocol.decode_request(parts[0])
        if isinstance(request, protocol.Hello):
            self._answer(client, protocol.Welcome(request.number, self.model, self._computed_on))
        elif request.key != self.model.key:
            self._answer(client, protocol.Refused(request.number, f"this service has {self.model.text()}"))
        elif client not in self._waiting and len(self._waiting) >= _MAX_CLIENTS:
            self._answer(client, protocol.Refused(request.number, "too many clients", busy=True))
        else:
            windows = self._windows(request, parts[-1] if len(parts) == 2 else b"")
            if self._waiting.pop(client, None):  # the client has given up the request before
                self._context.health.increment(NAME, "drop.replaced")
            self._waiting[client] = _Waiting(client, request, windows, self._context.clock.now_ns())

    def _windows(self, request: protocol.Lift, payload: bytes) -> list[Window]:
        """The windows of a request. Raises DecodeError, so that no other client's windows fail with them."""
        count, frames, joints = len(request.sizes_wh), self.model.frames, self.model.joints
        if request.last > frames:
            raise DecodeError(f"expected last up to {frames}, got {request.last}")
        if len(payload) != (size := protocol.array_bytes(count, frames, joints)):
            raise DecodeError(f"expected {size} bytes for {count} windows, got {len(payload)}")
        keypoints = np.frombuffer(payload, "<f4").reshape(count, frames, joints, 3)
        if not np.isfinite(keypoints).all():
            raise DecodeError("expected finite keypoints, got NaN or infinity")
        origin, times = np.zeros(frames, np.uint8), np.zeros(frames, np.int64)  # no lifter reads them
        return [Window(keypoints[n], origin, times, size_wh) for n, size_wh in enumerate(request.sizes_wh)]

    def _next_batch(self) -> list[_Waiting]:
        """The oldest requests that fit one batch and can be answered in time; the late ones are refused."""
        now_ns, batch, room = self._context.clock.now_ns(), list[_Waiting](), MAX_WINDOWS
        for waiting in list(self._waiting.values()):
            if now_ns + self._batch_ns - waiting.read_ns > waiting.request.wait_ms * 1e6:
                # A client that gives up gains nothing from a late answer, which would make others late too.
                self._context.health.increment(NAME, "drop.late")
                self._answer(waiting.client, protocol.Refused(waiting.request.number, "too busy", busy=True))
            elif len(waiting.windows) > room:
                break
            else:
                batch.append(waiting)
                room -= len(waiting.windows)
            del self._waiting[waiting.client]
        if not batch:
            self._batch_ns = 0  # no measurement may keep the service from its next one
        return batch

    # Answers

    def _lift(self, batch: list[_Waiting]) -> None:
        windows = [window for waiting in batch for window in waiting.windows]
        last = max(waiting.request.last for waiting in batch)
        started_ns = self._context.clock.now_ns()
        try:
            poses = self._lifter.lift(windows, last)
        except Exception as error:
            # Whatever a device or a library raises concerns this batch; clients go on without it.
            self._log.warning("failed", "%s: a batch of %d windows failed: %s", NAME, len(windows), error)
            self._context.health.increment(NAME, "drop.failed", len(batch))
            for waiting in batch:
                reason = f"the lifter failed: {error}"[:500]
                self._answer(waiting.client, protocol.Refused(waiting.request.number, reason, busy=True))
            return
        self._batch_ns = self._context.clock.now_ns() - started_ns
        self._context.health.observe_ms("lift", self._batch_ns / 1e6)
        self._context.health.observe_ms("batch", len(windows))
        self._context.health.increment(NAME, "batches")
        self._context.health.increment(NAME, "windows", len(windows))
        first = 0
        for waiting in batch:
            end = first + len(waiting.windows)
            part = np.ascontiguousarray(poses[first:end, -waiting.request.last :], "<f4")
            self._answer(waiting.client, protocol.Poses(waiting.request.number), part.tobytes())
            first = end

    def _answer(self, client: bytes, answer: protocol.Answer, *payload: bytes) -> None:
        """Send without waiting; a client that reads no answers loses them."""
        assert self._socket is not None
        try:
            self._socket.send_multipart([client, protocol.encode(answer), *payload], zmq.NOBLOCK)
        except zmq.Again:
            self._context.health.increment(NAME, "drop.client_slow")
