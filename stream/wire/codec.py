"""Messages to bytes and back, and the topics they travel under; `stream.documents` draws the format.

Joints: an absent one is NaN with origin 0, both or neither. Keypoints: score 0 means not seen,
whatever x and y say, and a score above 1 counts as 1. A `keypoints2d` document without
`t_capture_ns` was captured when it is read, one without `seq` gets the number its reader gives.
JSON numbers have nine significant digits, which give the same float32 back.

Bytes that are no message raise DecodeError and nothing else; a message that readers would refuse
raises EncodeError.
"""

import math
from dataclasses import fields, replace

import numpy as np

from stream.clock import Clock, SystemClock
from stream.errors import DecodeError, EncodeError, ShapeError
from stream.messages import (
    Header,
    JointOrigin,
    KeypointFrame,
    Keypoints,
    Message,
    Meta,
    Pose,
    PoseFrame,
    Status,
)
from stream.wire import schema as documents
from stream.wire.arrays import pack, pack_origin, unpack, unpack_origin
from stream.wire.schema import VERSION, Format, decode_document, encode_document

_SYSTEM_CLOCK = SystemClock()
_ABSENT, _PREDICTED = (
    int(JointOrigin.ABSENT),
    int(JointOrigin.PREDICTED),
)  # looked up once: an enum is slow at it


def with_publish_time(frame: PoseFrame, clock: Clock) -> PoseFrame:
    """The frame as first published now: with the time, and as `post` what other stages leave of its age."""
    if frame.published_unix_ns:
        return frame
    ms = frame.latency_ms
    age_ms = (clock.now_ns() - frame.header.captured_ns) / 1e6
    post_ms = max(0.0, age_ms - ms.capture - ms.detect - ms.queue - ms.lift)
    return replace(frame, published_unix_ns=clock.unix_ns(), latency_ms=replace(ms, post=post_ms))


def encode(message: Message | KeypointFrame, format: Format = "msgpack") -> bytes:
    """Bytes of any message."""
    match message:
        case PoseFrame():
            return encode_pose(message, format)
        case KeypointFrame():
            return encode_keypoints(message, format)
        case Meta():
            same = {field.name: getattr(message, field.name) for field in fields(Meta)}
            return encode_document(documents.MetaDocument(v=VERSION, schema="meta", **same), format)
        case Status(node, session, at_ns, report):
            status = documents.StatusDocument(session=session, node=node, t_publish_ns=at_ns, report=report)
            return encode_document(status, format)


def encode_pose(frame: PoseFrame, format: Format = "msgpack") -> bytes:
    """Bytes of a `pose3d` document."""
    if fault := _fault(frame):
        raise EncodeError(fault)
    document = documents.PoseDocument(
        session=frame.session,
        source=frame.header.source,
        seq=frame.header.seq,
        t_capture_ns=frame.header.captured_unix_ns,
        t_publish_ns=frame.published_unix_ns,
        lat_ms=frame.latency_ms,
        mode=frame.mode,
        lag=frame.lag,
        hop=frame.hop,
        window=frame.window,
        frame_id=frame.frame_id,
        skeleton=frame.skeleton,
        model=frame.model,
        dropped=frame.dropped,
        persons=[_person_part(pose, format) for pose in frame.persons],
    )
    return encode_document(document, format)


def encode_keypoints(frame: KeypointFrame, format: Format = "msgpack") -> bytes:
    """Bytes of a `keypoints2d` document."""
    parts = []
    for person in frame.persons:
        kp = np.concatenate([person.xy, person.score[:, None]], axis=1)
        if np.isinf(kp).any():
            raise EncodeError(f"keypoints2d of {frame.header.source}: expected numbers or NaN, got inf")
        parts.append(documents.KeypointSchema(kp=pack(kp, format), id=person.id))
    document = documents.KeypointDocument(
        v=VERSION,
        schema="keypoints2d",
        source=frame.header.source or None,
        seq=frame.header.seq,
        t_capture_ns=frame.header.captured_unix_ns,
        size_wh=frame.size_wh,
        skeleton=frame.skeleton,
        persons=parts,
    )
    return encode_document(document, format)


def decode(data: bytes, clock: Clock = _SYSTEM_CLOCK) -> Message | KeypointFrame:
    """The message in `data`, whatever its kind and format."""
    document: documents.Document = decode_document(data)
    match document:
        case documents.PoseDocument():
            return _pose_frame(document, clock)
        case documents.KeypointDocument():
            return _keypoint_frame(document, clock, seq=0)
        case documents.MetaDocument():
            return _meta(document)
        case documents.StatusDocument():
            return Status(document.node, document.session, document.t_publish_ns, document.report)


def decode_pose(data: bytes, clock: Clock = _SYSTEM_CLOCK) -> PoseFrame:
    """The poses in `data`; bytes of another kind raise DecodeError."""
    return _pose_frame(decode_document(data, "pose3d"), clock)


def decode_keypoints(data: bytes, clock: Clock = _SYSTEM_CLOCK, seq: int = 0) -> KeypointFrame:
    """The keypoints in `data`; `seq` numbers a message that has no number of its own."""
    return _keypoint_frame(decode_document(data, "keypoints2d"), clock, seq)


def _pose_frame(document: documents.PoseDocument, clock: Clock) -> PoseFrame:
    frame = PoseFrame(
        header=_header(document.source, document.seq, document.t_capture_ns, clock),
        persons=tuple([_pose(part) for part in document.persons]),
        skeleton=document.skeleton,
        session=document.session,
        mode=document.mode,
        lag=document.lag,
        hop=document.hop,
        window=document.window,
        latency_ms=document.lat_ms,
        model=document.model,
        frame_id=document.frame_id,
        published_unix_ns=document.t_publish_ns,
        dropped=document.dropped,
    )
    if fault := _fault(frame):
        raise DecodeError(fault)
    return frame


def _pose(part: documents.PersonSchema) -> Pose:
    try:
        return Pose(
            id=part.id,
            state=part.state,
            xyz=unpack("xyz", part.xyz, 3),
            score=unpack("conf", part.conf),
            origin=unpack_origin(part.origin),
            root=None if part.root.pos is None else unpack("root", [part.root.pos], 3)[0],
            root_status=part.root.status,
            kp2d=None if part.kp2d is None else unpack("kp2d", part.kp2d, 3),
            contact=part.contact,
        )
    except ShapeError as error:
        raise DecodeError(f"person {part.id!r}: {error}") from error


def _person_part(pose: Pose, format: Format) -> documents.PersonSchema:
    there = int(np.count_nonzero(pose.origin))
    return documents.PersonSchema(
        id=pose.id,
        state=pose.state,
        score=float(pose.score @ (pose.origin != _ABSENT)) / max(1, there),
        xyz=pack(pose.xyz, format),
        conf=pack(pose.score, format),
        origin=pack_origin(pose.origin, format),
        root=documents.RootSchema(None if pose.root is None else tuple(pose.root.tolist()), pose.root_status),
        kp2d=None if pose.kp2d is None else pack(pose.kp2d, format),
        contact=pose.contact,
    )


def _keypoint_frame(document: documents.KeypointDocument, clock: Clock, seq: int) -> KeypointFrame:
    seq = seq if document.seq is None else document.seq
    captured_unix_ns = clock.unix_ns() if document.t_capture_ns is None else document.t_capture_ns
    return KeypointFrame(
        header=_header(document.source or "", seq, captured_unix_ns, clock),
        size_wh=document.size_wh,
        skeleton=document.skeleton,
        persons=tuple([_keypoints(part) for part in document.persons]),
        detected_ns=clock.now_ns(),
    )


def _keypoints(part: documents.KeypointSchema) -> Keypoints:
    kp = unpack("kp", part.kp, 3)
    person = Keypoints(kp[:, :2].copy(), kp[:, 2].copy(), part.id)
    if person.complete and person.score.max() <= 1:
        return person
    kp = kp.copy()
    if not len(kp) or np.isinf(kp).any():
        raise DecodeError("kp: expected at least one joint and finite numbers or NaN")
    unseen = np.isnan(kp).any(axis=1) | (kp[:, 2] <= 0)
    kp[unseen] = np.nan, np.nan, 0
    return Keypoints(kp[:, :2].copy(), np.minimum(kp[:, 2], 1), part.id)


def _header(source: str, seq: int, captured_unix_ns: int, clock: Clock) -> Header:
    # A sender whose clock is ahead must not put a capture into our future.
    age_ns = max(0, clock.unix_ns() - captured_unix_ns)
    return Header(source, seq, clock.now_ns() - age_ns, captured_unix_ns)


def _meta(document: documents.MetaDocument) -> Meta:
    joints = len(document.joints)
    indices = [*document.parents, *(joint for pair in document.flip_pairs for joint in pair)]
    if len(document.parents) != joints or any(joint >= joints for joint in indices):
        raise DecodeError(f"meta of {document.source}: parents or flip_pairs do not fit its {joints} joints")
    return Meta(**{field.name: getattr(document, field.name) for field in fields(Meta)})


def _fault(frame: PoseFrame) -> str | None:
    """What must never be on the wire, neither sent nor believed."""
    ms = frame.latency_ms
    if not math.isfinite(ms.capture + ms.detect + ms.queue + ms.lift + ms.post):
        return f"pose3d of {frame.header.source}: lat_ms: expected finite numbers, got {ms}"
    wrong = next(filter(None, map(_pose_fault, frame.persons)), None)
    return wrong and f"pose3d of {frame.header.source}: {wrong}"


def _pose_fault(pose: Pose) -> str | None:
    absent = pose.origin == _ABSENT
    wrong = None
    if not pose.origin.size or _any(pose.origin > _PREDICTED):
        wrong = "origin: expected at least one joint and values 0 to 3"
    elif _any(np.isnan(pose.xyz) != absent[:, None]):
        wrong = "xyz: expected NaN exactly where origin is 0"
    elif _any(np.isinf(pose.xyz)) or (pose.kp2d is not None and _any(np.isinf(pose.kp2d))):
        wrong = "xyz, kp2d: expected finite numbers or NaN, got inf"
    elif _any(~((pose.score >= 0) & (pose.score <= 1))):
        wrong = "conf: expected scores from 0 to 1"
    elif pose.root is not None and _any(~np.isfinite(pose.root)):
        wrong = "root: expected finite numbers; an unknown root has none"
    return wrong and f"person {pose.id!r}: {wrong}"


# Several times faster than `array.any()` for the few joints of a person.
_any = np.count_nonzero
