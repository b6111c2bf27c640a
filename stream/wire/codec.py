"""Codec: messages to bytes and back, in the documents of `stream.wire.schema`.

An absent joint is NaN with origin 0, both or neither. A keypoint with score 0 is missing, whatever its x
and y are; a score above 1 counts as 1. A `keypoints2d` document without `t_capture_ns` counts as captured
when it is decoded; without `seq` it gets the number that its reader passes. JSON numbers have nine
significant digits, which restore the same float32.

Decoding raises DecodeError for any invalid bytes, and no other error. Encoding raises EncodeError for a
message that a reader would refuse.
"""

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

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
    Rotations,
    Status,
)
from stream.wire import schema as documents
from stream.wire.arrays import pack, pack_origin, unpack, unpack_origin
from stream.wire.schema import VERSION, Format, decode_document, encode_document

MAX_CLOCK_READ_NS, MAX_CLOCK_READS = 200_000, 5
_SYSTEM_CLOCK = SystemClock()
# Plain integers: NumPy compares an array with an enum member much more slowly.
_ABSENT, _PREDICTED = int(JointOrigin.ABSENT), int(JointOrigin.PREDICTED)


def with_publish_time(frame: PoseFrame, clock: Clock) -> PoseFrame:
    """The frame with the current time as publish time; unchanged if it already has one.

    `latency_ms.post` becomes the part of the frame's age that no other stage accounts for.
    """
    if frame.published_unix_ns:
        return frame
    ms = frame.latency_ms
    age_ms = (clock.now_ns() - frame.header.captured_ns) / 1e6
    post_ms = max(0.0, age_ms - ms.capture - ms.detect - ms.queue - ms.lift)
    return replace(frame, published_unix_ns=clock.unix_ns(), latency_ms=replace(ms, post=post_ms))


def encode(message: Message | KeypointFrame, format: Format = "msgpack") -> bytes:
    """Bytes of a message of any kind; EncodeError for one that a reader would refuse."""
    match message:
        case PoseFrame():
            return _encode_pose(message, format)
        case KeypointFrame():
            return encode_keypoints(message, format)
        case Meta():
            values = {field.name: getattr(message, field.name) for field in fields(Meta)}
            return encode_document(documents.MetaDocument(v=VERSION, schema="meta", **values), format)
        case Status(node, session, unix_ns, report):
            status = documents.StatusDocument(session=session, node=node, t_publish_ns=unix_ns, report=report)
            return encode_document(status, format)


def _encode_pose(frame: PoseFrame, format: Format) -> bytes:
    if violation := _violation(frame):
        raise EncodeError(violation)
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
        persons=[_person_schema(pose, format) for pose in frame.persons],
    )
    return encode_document(document, format)


def encode_keypoints(frame: KeypointFrame, format: Format = "msgpack") -> bytes:
    """Bytes of a `keypoints2d` document; EncodeError for infinite numbers."""
    persons = []
    for person in frame.persons:
        kp = np.concatenate([person.xy, person.score[:, None]], axis=1)
        if np.isinf(kp).any():
            raise EncodeError(f"keypoints2d of {frame.header.source}: expected numbers or NaN, got inf")
        persons.append(documents.KeypointSchema(kp=pack(kp, format), id=person.id))
    document = documents.KeypointDocument(
        v=VERSION,
        schema="keypoints2d",
        source=frame.header.source or None,
        seq=frame.header.seq,
        t_capture_ns=frame.header.captured_unix_ns,
        size_wh=frame.size_wh,
        skeleton=frame.skeleton,
        persons=persons,
    )
    return encode_document(document, format)


def decode(data: bytes, clock: Clock = _SYSTEM_CLOCK) -> Message | KeypointFrame:
    """The message in `data`, of any kind and in either format; DecodeError for invalid bytes."""
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


def decode_keypoints(data: bytes, clock: Clock = _SYSTEM_CLOCK, seq: int = 0) -> KeypointFrame:
    """The `keypoints2d` message in `data`; DecodeError for other bytes. seq: for a message without one."""
    return _keypoint_frame(decode_document(data, "keypoints2d"), clock, seq)


def _pose_frame(document: documents.PoseDocument, clock: Clock) -> PoseFrame:
    frame = PoseFrame(
        header=_header(document.source, document.seq, document.t_capture_ns, clock),
        persons=tuple([_pose(person) for person in document.persons]),
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
    if violation := _violation(frame):
        raise DecodeError(violation)
    return frame


def _pose(document: documents.PersonSchema) -> Pose:
    try:
        return Pose(
            id=document.id,
            state=document.state,
            xyz=unpack("xyz", document.xyz, 3),
            score=unpack("conf", document.conf),
            origin=unpack_origin(document.origin),
            root=None if document.root.pos is None else unpack("root", [document.root.pos], 3)[0],
            root_status=document.root.status,
            kp2d=None if document.kp2d is None else unpack("kp2d", document.kp2d, 3),
            contact=document.contact,
            rotations=_rotations(document),
            repaired=tuple(document.repaired or ()),
        )
    except ShapeError as error:
        raise DecodeError(f"person {document.id!r}: {error}") from error


def _rotations(document: documents.PersonSchema) -> Rotations | None:
    quat, rest, twist = document.quat, document.rest, document.twist
    if quat is None or rest is None or twist is None:
        return None
    return Rotations(unpack("quat", quat, 4), unpack("rest", rest, 3), unpack_origin(twist))


def _person_schema(pose: Pose, format: Format) -> documents.PersonSchema:
    present = int(np.count_nonzero(pose.origin))
    root = None if pose.root is None else tuple(pose.root.tolist())
    return documents.PersonSchema(
        id=pose.id,
        state=pose.state,
        score=float(pose.score @ (pose.origin != _ABSENT)) / max(1, present),
        xyz=pack(pose.xyz, format),
        conf=pack(pose.score, format),
        origin=pack_origin(pose.origin, format),
        root=documents.RootSchema(root, pose.root_status),
        kp2d=None if pose.kp2d is None else pack(pose.kp2d, format),
        contact=pose.contact,
        repaired=list(pose.repaired) or None,
        **_rotation_fields(pose.rotations, format),
    )


def _rotation_fields(rotations: Rotations | None, format: Format) -> dict[str, Any]:
    if rotations is None:
        return {}
    quat, rest = (pack(array, format) for array in (rotations.quat, rotations.rest))
    return {"quat": quat, "rest": rest, "twist": pack_origin(rotations.twist, format)}


def _keypoint_frame(document: documents.KeypointDocument, clock: Clock, seq: int) -> KeypointFrame:
    seq = seq if document.seq is None else document.seq
    captured_unix_ns = clock.unix_ns() if document.t_capture_ns is None else document.t_capture_ns
    return KeypointFrame(
        header=_header(document.source or "", seq, captured_unix_ns, clock),
        size_wh=document.size_wh,
        skeleton=document.skeleton,
        persons=_persons(document.persons),
        detected_ns=clock.now_ns(),
    )


def _persons(persons: Sequence[documents.KeypointSchema]) -> tuple[Keypoints, ...]:
    """The persons of a frame, decoded together when all of them have binary arrays of one length."""
    if len(persons) == 1:  # which takes less time alone
        return (_keypoints(persons[0]),)
    packed = [person.kp for person in persons if isinstance(person.kp, bytes)]
    size = len(packed[0]) if packed else 0
    if not size or size % 12 or len(packed) < len(persons) or any(len(kp) != size for kp in packed):
        return tuple([_keypoints(person) for person in persons])
    kp = np.frombuffer(b"".join(packed), "<f4").astype(np.float32, copy=False)
    kp = kp.reshape(len(packed), -1, 3)
    score = kp[..., 2].copy()
    decoded = Keypoints.rows(kp[..., :2].copy(), score, [person.id for person in persons])
    if np.maximum.reduce(score, None) <= 1 and all(person.complete for person in decoded):
        return decoded
    return tuple([_keypoints(person) for person in persons])


def _keypoints(document: documents.KeypointSchema) -> Keypoints:
    kp = unpack("kp", document.kp, 3)
    values = kp.ravel().tolist()  # for the few joints of a person lists are faster than arrays
    score = values[2::3]
    if score and math.isfinite(sum(values)) and min(score) > 0 and max(score) <= 1:
        return Keypoints.all_visible(kp[:, :2].copy(), kp[:, 2].copy(), document.id)
    kp = kp.copy()
    if not len(kp) or np.isinf(kp).any():
        raise DecodeError("kp: expected at least one joint and finite numbers or NaN")
    missing = np.isnan(kp).any(axis=1) | (kp[:, 2] <= 0)
    kp[missing] = np.nan, np.nan, 0
    return Keypoints(kp[:, :2].copy(), np.minimum(kp[:, 2], 1), document.id)


def _header(source: str, seq: int, captured_unix_ns: int, clock: Clock) -> Header:
    # The clock of a sender on another machine may be ahead; a capture is never in the future.
    now_ns, unix_ns = _both_times(clock)
    age_ns = max(0, unix_ns - captured_unix_ns)
    return Header(source, seq, now_ns - age_ns, captured_unix_ns)


def _both_times(clock: Clock) -> tuple[int, int]:
    """Monotonic and wall-clock time of one moment: read again when the thread paused between the two."""
    for _ in range(MAX_CLOCK_READS):
        before_ns, unix_ns = clock.now_ns(), clock.unix_ns()
        if clock.now_ns() - before_ns < MAX_CLOCK_READ_NS:
            break
    return before_ns, unix_ns


def _meta(document: documents.MetaDocument) -> Meta:
    joints = len(document.joints)
    indices = [*document.parents, *(joint for pair in document.flip_pairs for joint in pair)]
    if len(document.parents) != joints or any(joint >= joints for joint in indices):
        raise DecodeError(f"meta of {document.source}: parents or flip_pairs do not fit its {joints} joints")
    return Meta(**{field.name: getattr(document, field.name) for field in fields(Meta)})


def _violation(frame: PoseFrame) -> str | None:
    """The first rule of the format that the frame breaks, as a sentence; None for a valid frame."""
    ms = frame.latency_ms
    if not math.isfinite(ms.capture + ms.detect + ms.queue + ms.lift + ms.post):
        return f"pose3d of {frame.header.source}: lat_ms: expected finite numbers, got {ms}"
    for pose in frame.persons:
        if not _is_plainly_valid(pose) and (violation := _pose_violation(pose)):
            return f"pose3d of {frame.header.source}: {violation}"
    return None


def _is_plainly_valid(pose: Pose) -> bool:
    """Fast accept of a pose without absent joints; False means undecided.

    For the few joints of a person lists take a quarter of the time of arrays.
    """
    if pose.repaired or pose.rotations is not None or not pose.origin.size:
        return False
    origin, score = pose.origin.tolist(), pose.score.tolist()
    total = sum(pose.xyz.ravel().tolist())
    if pose.kp2d is not None:
        total += sum(pose.kp2d.ravel().tolist())
    if pose.root is not None:
        total += sum(pose.root.tolist())
    return (
        min(origin) > _ABSENT
        and max(origin) <= _PREDICTED
        and min(score) >= 0
        and max(score) <= 1
        and math.isfinite(total)
    )


def _pose_violation(pose: Pose) -> str | None:
    absent = pose.origin == _ABSENT
    violation = None
    if not pose.origin.size or _any(pose.origin > _PREDICTED):
        violation = "origin: expected at least one joint and values 0 to 3"
    elif _any(np.isnan(pose.xyz) != absent[:, None]):
        violation = "xyz: expected NaN exactly where origin is 0"
    elif _any(np.isinf(pose.xyz)) or (pose.kp2d is not None and _any(np.isinf(pose.kp2d))):
        violation = "xyz, kp2d: expected finite numbers or NaN, got inf"
    elif _any(~((pose.score >= 0) & (pose.score <= 1))):
        violation = "conf: expected scores from 0 to 1"
    elif pose.root is not None and _any(~np.isfinite(pose.root)):
        violation = "root: expected finite numbers; an unknown root is None"
    elif any(not 0 <= joint < len(pose.xyz) for joint in pose.repaired):
        violation = "repaired: expected indices of joints"
    elif pose.rotations is not None and not (
        np.isfinite(pose.rotations.quat).all() and np.isfinite(pose.rotations.rest).all()
    ):
        violation = "quat, rest: expected finite numbers"
    return violation and f"person {pose.id!r}: {violation}"


# For the few joints of a person several times faster than `array.any()`.
_any = np.count_nonzero
