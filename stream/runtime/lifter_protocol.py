"""Messages between pipelines and a lifter service: a short MessagePack header, then raw float32 numbers.

A pipeline sends [header] or [header, keypoints], the service answers [header] or [header, poses]. Every
request names the key of its model, so that a service with other weights never lifts it, and the service needs
no memory of its clients.
"""

import hashlib
from typing import Annotated

import msgspec

from lifter.spec import MAX_WINDOWS, LifterSpec
from stream.errors import DecodeError

_VERSION = 1  # part of every key: two versions of this file never understand each other by accident
_HEADER_BYTES = 4096
_DESCRIPTIVE = ("name", "licence", "trained_on")  # fields of a spec that change no pose
_Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]

Key = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class Model(msgspec.Struct, frozen=True, array_like=True):
    """A model as both sides describe it; `key` alone decides whether two are the same."""

    key: Key
    name: Annotated[str, msgspec.Meta(max_length=100)]
    sha256: Annotated[str, msgspec.Meta(max_length=64)]
    frames: int
    joints: int

    def text(self) -> str:
        """Name, weights and window, for logs and errors."""
        window = f"window {self.frames} x {self.joints}"
        return f"{self.name} (weights {self.sha256[:12]}, {window}, key {self.key.hex()[:8]})"


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """A client asks for the model of the service."""

    number: int


class Lift(msgspec.Struct, frozen=True, array_like=True, tag="lift"):
    """A client sends keypoints (N, F, J, 3) float32 of N windows and wants the newest `last` poses of each.

    sizes_wh: image size of every window. wait_ms: the client gives up after this time.
    """

    number: int
    key: Key
    last: _Size
    wait_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)]
    sizes_wh: Annotated[list[tuple[_Size, _Size]], msgspec.Meta(min_length=1, max_length=MAX_WINDOWS)]


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """The service describes its model. computed_on: device, precision and engine, for logs."""

    number: int
    model: Model
    computed_on: Annotated[str, msgspec.Meta(max_length=200)]


class Poses(msgspec.Struct, frozen=True, array_like=True, tag="poses"):
    """The answer to a `Lift`: poses (N, last, J, 3) float32."""

    number: int


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The service did not lift. busy: the same request may succeed later."""

    number: int
    reason: Annotated[str, msgspec.Meta(max_length=500)]
    busy: bool = False


Request = Hello | Lift
Answer = Welcome | Poses | Refused

encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def model_of(spec: LifterSpec) -> Model:
    """The description of a spec; models with equal keys compute equal poses in exact arithmetic."""
    fields = {name: value for name, value in msgspec.structs.asdict(spec).items() if name not in _DESCRIPTIVE}
    text = msgspec.json.encode([_VERSION, fields], order="sorted")
    return Model(hashlib.sha256(text).digest()[:16], spec.name[:100], spec.sha256, spec.frames, spec.joints)


def decode_request(header: bytes) -> Request:
    """The request of a header. Raises DecodeError."""
    try:
        request: Request = _decode_request(_checked(header))
    except ValueError as error:  # msgspec's errors, and text that is no UTF-8
        raise DecodeError(f"lifter request: {error}") from None
    return request


def decode_answer(header: bytes) -> Answer:
    """The answer of a header. Raises DecodeError."""
    try:
        answer: Answer = _decode_answer(_checked(header))
    except ValueError as error:  # msgspec's errors, and text that is no UTF-8
        raise DecodeError(f"lifter answer: {error}") from None
    return answer


def array_bytes(windows: int, frames: int, joints: int) -> int:
    """Size of keypoints or poses (windows, frames, joints, 3) float32."""
    return 12 * windows * frames * joints


def max_message_bytes(model: Model) -> int:
    """Size of the largest part of a message."""
    return _HEADER_BYTES + array_bytes(MAX_WINDOWS, model.frames, model.joints)


def _checked(header: bytes) -> bytes:
    if len(header) > _HEADER_BYTES:
        raise msgspec.DecodeError(f"expected a header of at most {_HEADER_BYTES} bytes, got {len(header)}")
    return header
