"""VMC protocol 3.1: avatars in VSeeFace, Warudo, VNyan, Unity, Unreal and Blender move with a person.

The protocol knows no persons: each gets a port, `port`, `port + 1`, ..., which is kept until the person is
lost. Axes are Unity's: left-handed, y up, metres. Packets stay below 1500 bytes.
"""

import socket
import struct

import msgspec
import numpy as np

from sinks.humanoid import BONES, RigFrame, rig_frame
from sinks.max_age import MaxAge
from stream.errors import ConfigError, SinkUnavailable
from stream.messages import Message, Pose, PoseFrame
from stream.protocols import ComponentContext

MAX_PACKET_BYTES = 1500
_IMMEDIATELY = struct.pack(">Q", 1)
_MIRROR_POSITION = np.array([-1.0, 1.0, 1.0])
_MIRROR_QUAT = np.array([1.0, -1.0, -1.0, 1.0])
_LOADED, _CALIBRATED, _NORMAL_MODE = 1, 3, 0
_TRACKED, _UNTRACKED = 1, 0


class VMC:
    """A VMC performer: bones of up to `max_persons` persons, each on a port of its own."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """host: machine of the avatar program.
        port: UDP port of the first person; the next ones have the ports after it.
        max_persons: how many persons are sent, first come first served.
        hips_scale: the avatar's hip height divided by the person's, so that its feet meet the floor.
        max_age_ms: older poses are not sent; their persons count as lost.
        """

        host: str = "127.0.0.1"
        port: int = 39539
        max_persons: int = 1
        hips_scale: float = 1.0
        max_age_ms: float = 1000.0

        def __post_init__(self) -> None:
            if not 1 <= self.max_persons <= 64:
                raise ConfigError(f"vmc max_persons: expected 1 to 64, got {self.max_persons}")
            if not 1 <= self.port <= 65536 - self.max_persons:
                raise ConfigError(f"vmc port: expected 1 to {65536 - self.max_persons}, got {self.port}")
            if not 0.1 <= self.hips_scale <= 10:
                raise ConfigError(f"vmc hips_scale: expected 0.1 to 10, got {self.hips_scale}")
            if not self.max_age_ms > 0:
                raise ConfigError(f"vmc max_age_ms: expected more than 0, got {self.max_age_ms}")

    close_timeout_s = 1.0

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._max_age = MaxAge(settings.max_age_ms, context)
        self._socket: socket.socket | None = None
        self._address: tuple[str, int] = ("", 0)
        self._ports: dict[tuple[str, str], int] = {}  # by source and person

    @property
    def endpoint(self) -> str:
        return f"udp://{self._settings.host}:{self._settings.port}"

    def open(self) -> None:
        try:
            info = socket.getaddrinfo(self._settings.host, self._settings.port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(info[0], socket.SOCK_DGRAM)
        except OSError as error:
            raise SinkUnavailable(f"{self._context.name}: {self.endpoint}: {error}") from error
        self._address = str(info[4][0]), self._settings.port

    def close(self) -> None:
        if self._socket is None:
            return
        for key in list(self._ports):
            self._end(key)
        self._socket.close()
        self._socket = None

    def send(self, message: Message) -> None:
        """Send the persons of a pose frame, and that persons who are not in it are no longer tracked."""
        if not isinstance(message, PoseFrame):
            return
        message, source = self._max_age.fresh(message), message.header.source
        present = {(source, person.id) for person in message.persons if person.state != "lost"}
        for key in [key for key in self._ports if key[0] == source and key not in present]:
            self._end(key)
        for person in message.persons:
            if person.state == "lost":
                continue
            rig, port = rig_frame(message, person), self._port((source, person.id))
            if rig is not None and port is not None:
                self._put(port, self._bundles(message, person, rig))

    def _port(self, key: tuple[str, str]) -> int | None:
        if key not in self._ports:
            free = set(range(self._settings.max_persons)) - set(self._ports.values())
            if not free:
                self._context.health.increment(self._context.name, "drop.no_free_port")
                return None
            self._ports[key] = min(free)
        return self._ports[key]

    def _end(self, key: tuple[str, str]) -> None:
        if (port := self._ports.pop(key, None)) is not None:
            untracked = osc("/VMC/Ext/OK", _LOADED, _CALIBRATED, _NORMAL_MODE, _UNTRACKED)
            unloaded = osc("/VMC/Ext/OK", 0)
            self._put(port, [bundle([untracked]), bundle([unloaded])])

    def _bundles(self, frame: PoseFrame, person: Pose, rig: RigFrame) -> list[bytes]:
        head = [
            osc("/VMC/Ext/OK", _LOADED, _CALIBRATED, _NORMAL_MODE, _TRACKED),
            osc("/VMC/Ext/T", frame.header.captured_ns / 1e9),
            osc("/VMC/Ext/Root/Pos", "root", *(0.0, 0.0, 0.0), *(0.0, 0.0, 0.0, 1.0)),
        ]
        positions = rig.rest * _MIRROR_POSITION
        positions[0] = rig.hips * self._settings.hips_scale * _MIRROR_POSITION
        rows = np.concatenate([positions, rig.quat * _MIRROR_QUAT], axis=1).tolist()
        bones = [osc("/VMC/Ext/Bone/Pos", name, *row) for name, row in zip(BONES, rows, strict=True)]
        half = len(bones) // 2
        return [bundle([*head, *bones[:half]]), bundle(bones[half:])]

    def _put(self, port: int, packets: list[bytes]) -> None:
        assert self._socket is not None  # the pipeline sends only after `open`
        host, first = self._address
        try:
            for packet in packets:
                self._socket.sendto(packet, (host, first + port))
        except ConnectionError:  # no program listens there yet; UDP has nothing to reconnect
            self._context.health.increment(self._context.name, "drop.refused")
        except OSError as error:
            raise SinkUnavailable(f"{self._context.name}: {self.endpoint}: {error}") from error


def osc(address: str, *values: str | int | float) -> bytes:
    """An OSC 1.0 message; values are strings, 32-bit integers and 32-bit floats by their Python type."""
    tags, data = ",", b""
    for value in values:
        if isinstance(value, str):
            tags, data = tags + "s", data + _padded(value)
        elif isinstance(value, int):
            tags, data = tags + "i", data + struct.pack(">i", value)
        else:
            tags, data = tags + "f", data + struct.pack(">f", value)
    return _padded(address) + _padded(tags) + data


def bundle(messages: list[bytes]) -> bytes:
    """An OSC bundle that takes effect at once."""
    parts = [struct.pack(">i", len(message)) + message for message in messages]
    return b"".join([_padded("#bundle"), _IMMEDIATELY, *parts])


def _padded(text: str) -> bytes:
    data = text.encode() + b"\0"
    return data + b"\0" * (-len(data) % 4)
