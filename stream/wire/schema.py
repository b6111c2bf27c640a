"""Schema of version 1: documents as MessagePack maps, or the same documents as JSON.

Every document begins with `v: 1` and `schema`, one of `KINDS`; times are Unix nanoseconds.

    pose3d       session source seq t_capture_ns t_publish_ns lat_ms mode lag hop window frame_id
                 units skeleton model dropped
                 persons [{id, state, score, xyz, conf, origin, root {pos, status}, kp2d?, contact?,
                          quat?, rest?, twist?, repaired?}]
    keypoints2d  skeleton size_wh persons [{kp, id?}] source? seq? t_capture_ns?
    meta         session source skeleton joints parents flip_pairs size_wh frame_id units model
                 intrinsics? extrinsics?
    status       session node t_publish_ns report

`xyz`, `kp2d` and `kp` are bin of little-endian float32 [J, 3], `conf` of float32 [J], `origin` of
uint8 [J]. JSON has nested lists instead, with null for NaN. Readers accept bin and lists in both
formats (bin in JSON is base64). Keys marked `?` are optional. Readers ignore unknown keys; a breaking
change gets another `v` and another topic.
"""

from typing import Annotated, Any, Literal

import msgspec

from stream.camera_info import Extrinsics, Intrinsics
from stream.errors import DecodeError, EncodeError
from stream.messages import Contact, Latency, Mode, ModelInfo, RigInfo, RootStatus, State, WindowInfo

VERSION = 1
MAX_BYTES = 1 << 20  # holds hundreds of persons; bounds the memory and time that decoding takes
Kind = Literal["pose3d", "keypoints2d", "meta", "status"]
Format = Literal["msgpack", "json"]

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**62)]  # until 2116; a sum of two fits into int64
Joint = Annotated[int, msgspec.Meta(ge=-1, le=2**15)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
# Names become topics: no separators or wildcards of ZeroMQ and MQTT, no control characters.
NAME = r"^[^/+#\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}\Z"
Name = Annotated[str, msgspec.Meta(pattern=NAME)]
# Ids are printed: no control characters, which a terminal would obey.
PersonId = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}\Z")]
MAX_PERSONS = 256  # in one `keypoints2d` document; bounds the time that decoding takes
_Joints = msgspec.Meta(max_length=1024)  # more than any skeleton has
Quat = Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]
Row = Annotated[list[float | None], msgspec.Meta(max_length=3)]
Rows = bytes | Annotated[list[Row], _Joints]
Floats = bytes | Annotated[list[float], _Joints]
Origins = bytes | Annotated[list[int], _Joints]


class Envelope(msgspec.Struct):
    """The two keys that decide how the rest of a document is decoded."""

    v: int
    schema: str


class RootSchema(msgspec.Struct):
    """Position of a person's pelvis, in metres in the document's `frame_id`."""

    pos: tuple[float, float, float] | None
    status: RootStatus


class PersonSchema(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One person of a `pose3d` document."""

    id: Text
    state: State
    score: float  # mean of `conf` over the present joints; redundant
    xyz: Rows
    conf: Floats
    origin: Origins
    root: RootSchema
    kp2d: Rows | None = None
    contact: Contact | None = None
    quat: bytes | Annotated[list[Quat], _Joints] | None = None
    rest: Rows | None = None
    twist: Origins | None = None
    repaired: Annotated[list[Joint], _Joints] | None = None


class PoseDocument(msgspec.Struct, kw_only=True):
    """3D poses of one captured frame."""

    v: int = VERSION
    schema: str = "pose3d"
    session: str
    source: Name
    seq: Count
    t_capture_ns: Count
    t_publish_ns: Count
    lat_ms: Latency
    mode: Mode
    lag: Count
    hop: Count
    window: WindowInfo
    frame_id: str
    units: Literal["m"] = "m"
    skeleton: Text
    model: ModelInfo
    dropped: Count
    persons: list[PersonSchema]


class KeypointSchema(msgspec.Struct, omit_defaults=True):
    """One person of a `keypoints2d` document."""

    kp: Rows
    id: PersonId | None = None


class KeypointDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """2D keypoints of one captured frame, from poselift or any other program."""

    v: int
    schema: str
    source: Name | None = None
    seq: Count | None = None
    t_capture_ns: Nanoseconds | None = None
    size_wh: tuple[Pixels, Pixels]
    skeleton: Text
    persons: Annotated[list[KeypointSchema], msgspec.Meta(max_length=MAX_PERSONS)]


class MetaDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Description of a source; the fields of `messages.Meta`, with the ranges that version 1 allows."""

    v: int
    schema: str
    session: str
    source: Name
    skeleton: Text
    joints: tuple[str, ...]
    parents: tuple[Joint, ...]
    flip_pairs: tuple[tuple[Joint, Joint], ...]
    size_wh: tuple[Pixels, Pixels] | None
    frame_id: str
    units: str
    model: ModelInfo
    intrinsics: Intrinsics | None = None
    extrinsics: Extrinsics | None = None
    rig: RigInfo | None = None


class StatusDocument(msgspec.Struct, kw_only=True):
    """Health of a node."""

    v: int = VERSION
    schema: str = "status"
    session: str
    node: Name
    t_publish_ns: Count
    report: dict[str, Any]


Document = PoseDocument | KeypointDocument | MetaDocument | StatusDocument
_TYPES: dict[str, type[Document]] = {
    "pose3d": PoseDocument,
    "keypoints2d": KeypointDocument,
    "meta": MetaDocument,
    "status": StatusDocument,
}
KINDS = tuple(_TYPES)

_MODULES: dict[str, Any] = {"msgpack": msgspec.msgpack, "json": msgspec.json}
_ENCODERS = {name: module.Encoder() for name, module in _MODULES.items()}
_ENVELOPES = {name: module.Decoder(Envelope) for name, module in _MODULES.items()}
_DECODERS = {
    (name, kind): module.Decoder(document)
    for name, module in _MODULES.items()
    for kind, document in _TYPES.items()
}


def encode_document(document: Document, format: Format) -> bytes:
    """Bytes of a document; EncodeError for a value that the format cannot express, or above MAX_BYTES."""
    try:
        data: bytes = _ENCODERS[format].encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"{document.schema} cannot be encoded as {format}: {error}") from error
    if len(data) > MAX_BYTES:
        raise EncodeError(f"{document.schema}: expected at most {MAX_BYTES} bytes, got {len(data)}")
    return data


def decode_document(data: bytes, expected: Kind | None = None) -> Any:
    """The document in `data`, in either format; DecodeError unless it is valid and of the expected kind."""
    if len(data) > MAX_BYTES:
        raise DecodeError(f"message: expected at most {MAX_BYTES} bytes, got {len(data)}")
    # A MessagePack map begins with none of these bytes.
    format = "json" if data[:1] in (b"{", b" ", b"\n", b"\r", b"\t") else "msgpack"
    try:
        envelope = _ENVELOPES[format].decode(data)
        if envelope.v != VERSION:
            raise DecodeError(f"message: expected v {VERSION}, got v {envelope.v}; update the older side")
        if envelope.schema not in _TYPES or expected not in (None, envelope.schema):
            kinds = expected or ", ".join(KINDS)
            raise DecodeError(f"message: expected schema {kinds}, got {envelope.schema[:40]!r}")
        return _DECODERS[format, envelope.schema].decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise DecodeError(f"{len(data)} bytes are not a valid message: {str(error)[:200]}") from error
