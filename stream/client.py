"""Listen to a poselift node; needs numpy, pyzmq and msgspec, nothing else.

from stream import subscribe

for poses in subscribe("tcp://127.0.0.1:5555", newest=True):
    for person in poses.persons:
        print(person.id, person.state, person.xyz[10], f"{poses.age_ms():.0f} ms old")
"""

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import zmq
import zmq.auth

from stream.errors import ConfigError, DecodeError, SourceLost
from stream.messages import KeypointFrame, Message, PoseFrame
from stream.wire import codec as wire
from stream.wire.schema import MAX_BYTES, Kind
from stream.wire.topics import topic

log = logging.getLogger("poselift")

ENDPOINT = "tcp://127.0.0.1:5555"
_SLICE_S = 1.0  # where a system call cannot be interrupted, Ctrl-C waits at most this long
_MOST_DRAINED = 1000  # a sender that never pauses must not keep us from returning


def subscribe(
    endpoint: str = ENDPOINT,
    source: str | None = None,
    newest: bool = False,
    timeout_s: float | None = None,
    keys: "Keys | None" = None,
) -> Iterator[PoseFrame]:
    """Poses of one source, or of all, for ever; connects at once and again whenever the node is back.

    newest: skip what is older than the newest poses of its source, for readers slower than the sender.
    timeout_s: raise SourceLost when nothing comes for so long; by default wait for ever.
    Leaving the loop disconnects.
    """
    return _poses(Subscriber(endpoint, source, ("pose3d",), keys), newest, timeout_s)


def _poses(subscriber: "Subscriber", newest: bool, timeout_s: float | None) -> Iterator[PoseFrame]:
    with subscriber:
        while True:
            one = None if newest else subscriber.read(timeout_s)
            messages = subscriber.newest(timeout_s) if newest else [one] if one else []
            if not messages:
                raise SourceLost(
                    f"no poses from {subscriber.endpoint} for {timeout_s} s; is the node running, "
                    "is this its address, and does its camera see somebody?"
                )
            for message in messages:
                if isinstance(message, PoseFrame):
                    yield message


class Keys:
    """CURVE keys of a subscriber: its own secret certificate and the node's public one, as files."""

    def __init__(self, client_secret_file: str | Path, server_public_file: str | Path) -> None:
        try:
            self.public, secret = zmq.auth.load_certificate(client_secret_file)
            self.server, _ = zmq.auth.load_certificate(server_public_file)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"CURVE keys: {error}; zmq.auth.create_certificates makes such files"
            ) from error
        if secret is None:
            raise ConfigError(
                f"CURVE keys: {client_secret_file} holds no secret key; name the .key_secret file"
            )
        self.secret = secret


class Subscriber:
    """Messages of a node, in the order they arrive; use it from one thread.

    refused: how many messages so far were not ours to understand.
    """

    def __init__(
        self,
        endpoint: str = ENDPOINT,
        source: str | None = None,
        kinds: tuple[Kind, ...] = ("pose3d", "meta", "status"),
        keys: Keys | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.refused = 0
        topics = [topic(kind, None if kind == "status" else source) for kind in kinds]
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        options: dict[zmq.SocketOption, int | bytes] = {
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: MAX_BYTES,
            zmq.HEARTBEAT_IVL: 2000,  # notice a node that vanished without a word
            zmq.HEARTBEAT_TIMEOUT: 6000,
            zmq.RECONNECT_IVL: 100,
            zmq.RECONNECT_IVL_MAX: 2000,
        }
        if keys:
            options |= {
                zmq.CURVE_PUBLICKEY: keys.public,
                zmq.CURVE_SECRETKEY: keys.secret,
                zmq.CURVE_SERVERKEY: keys.server,
            }
        for option, value in options.items():
            self._socket.set(option, value)
        for prefix in topics:
            self._socket.subscribe(prefix)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"endpoint {endpoint!r}: expected an address like {ENDPOINT}, got {error}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(linger=0)

    def read(self, timeout_s: float | None = None) -> Message | KeypointFrame | None:
        """The next message; None when there is none within `timeout_s`."""
        for _ in self._arrivals(timeout_s):
            if (message := self._decoded(self._socket.recv_multipart())) is not None:
                return message
        return None

    def newest(self, timeout_s: float | None = None) -> list[Message | KeypointFrame]:
        """The newest message of each topic that has one; empty when there is none within `timeout_s`."""
        for _ in self._arrivals(timeout_s):
            latest: dict[bytes, list[bytes]] = {}
            for _ in range(_MOST_DRAINED):
                parts = self._socket.recv_multipart()
                latest[parts[0]] = parts
                if not self._socket.poll(0):
                    break
            messages = [message for parts in latest.values() if (message := self._decoded(parts)) is not None]
            if messages:
                return messages
        return []

    def _arrivals(self, timeout_s: float | None) -> Iterator[None]:
        """Once for each time that a message is there to be received, until `timeout_s` have passed."""
        if self._socket.closed:
            raise SourceLost(f"the subscriber to {self.endpoint} is closed")
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline_s - time.monotonic())
            if self._socket.poll(math.ceil(1000 * min(left_s, _SLICE_S))):
                yield
            if time.monotonic() >= deadline_s:
                return

    def _decoded(self, parts: list[bytes]) -> Message | KeypointFrame | None:
        try:
            if len(parts) != 2:
                raise DecodeError(f"message: expected two parts, got {len(parts)}")
            return wire.decode(parts[1])
        except DecodeError as error:
            if not self.refused:
                log.warning("%s: %s; further ones are only counted", self.endpoint, error)
            self.refused += 1
            return None
