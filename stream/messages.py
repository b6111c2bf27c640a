"""Messages: frames, keypoints, windows, poses, meta and status; frozen, checked once at construction.

Camera axes are optical: x right, y down, z forward; world axes have z up. The origin of pixels is the
top left of the image. A missing joint is NaN with score 0, never a point at 0.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stream.camera_info import Extrinsics, Intrinsics
from stream.errors import ShapeError

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

_FLOAT32, _UINT8, _INT64 = np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int64)

State = Literal["new", "ok", "predicted", "lost"]
Mode = Literal["live", "fixed", "offline"]
RootStatus = Literal["metric", "height", "none"]


class JointOrigin(IntEnum):
    """Provenance of a joint's value; subscribers get the first four."""

    ABSENT = 0
    OBSERVED = 1
    INTERPOLATED = 2  # between two observations
    PREDICTED = 3  # held or extrapolated past the last observation
    PADDED = 4  # only in windows: frames from before the first observation


# Plain integers: NumPy compares an array with an enum member much more slowly.
_OBSERVED, _INTERPOLATED = int(JointOrigin.OBSERVED), int(JointOrigin.INTERPOLATED)


@dataclass(frozen=True, slots=True)
class Header:
    """Identity and time of a captured frame, stamped once and carried unchanged.

    seq: number of the frame in its source. captured_ns: monotonic clock of this machine;
    captured_unix_ns: wall clock.
    """

    source: str
    seq: int
    captured_ns: int
    captured_unix_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """An image: (H, W, 3) uint8 RGB."""

    header: Header
    image: U8

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ShapeError(
                f"frame image: expected (H, W, 3) uint8 RGB, got {self.image.shape} {self.image.dtype}"
            )

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """One person in 2D: xy (J, 2) float32 pixels, NaN where not detected; score (J,) float32 in 0..1.

    id: the sender's or the tracker's, None without one. face (2, 2) float32 px: middle of the left and of the
    right eye and ear, NaN where not detected; None when the detector gives neither. repaired: joints whose
    sides the detector had exchanged. complete: True if every joint was detected, so that callers can skip the
    per-joint mask.
    """

    xy: F32
    score: F32
    id: str | None = None
    face: F32 | None = None
    repaired: tuple[int, ...] = ()
    complete: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_array("keypoints xy", self.xy, (None, 2), _FLOAT32)
        _check_array("keypoints score", self.score, (self.xy.shape[0],), _FLOAT32)
        object.__setattr__(self, "complete", all_joints_visible(self.xy, self.score))

    @classmethod
    def rows(cls, xy: F32, score: F32, ids: Sequence[str | None]) -> "tuple[Keypoints, ...]":
        """P persons from rows of arrays: xy (P, J, 2), score (P, J) and P ids, checked all at once.

        For ten persons this takes half of the time of ten constructors.
        """
        _check_array("keypoints xy", xy[0], (None, 2), _FLOAT32)
        _check_array("keypoints score", score, (len(ids), xy.shape[1]), _FLOAT32)
        detected: Mask = np.isfinite(xy).all(axis=2) & np.isfinite(score) & (score > 0)  # (P, J)
        complete: list[bool] = np.logical_and.reduce(detected, axis=1).tolist()
        return tuple([cls._checked(xy[row], score[row], id, complete[row]) for row, id in enumerate(ids)])

    @classmethod
    def all_visible(cls, xy: F32, score: F32, id: str | None = None) -> "Keypoints":
        """A person of whom the caller knows that every joint was detected, and that the arrays are right."""
        return cls._checked(xy, score, id, complete=True)

    def named(self, id: str) -> "Keypoints":
        """The same person under another id; a fifth of the time of `replace`, which checks all arrays."""
        return self._checked(self.xy, self.score, id, self.complete, self.face, self.repaired)

    @classmethod
    def _checked(
        cls,
        xy: F32,
        score: F32,
        id: str | None,
        complete: bool,
        face: F32 | None = None,
        repaired: tuple[int, ...] = (),
    ) -> "Keypoints":
        """A person of arrays that have been checked."""
        person, set_value = object.__new__(cls), object.__setattr__
        set_value(person, "xy", xy)
        set_value(person, "score", score)
        set_value(person, "id", id)
        set_value(person, "face", face)
        set_value(person, "repaired", repaired)
        set_value(person, "complete", complete)
        return person


@dataclass(frozen=True, slots=True, eq=False)
class KeypointFrame:
    """Keypoints of all persons in one captured frame, joints in `skeleton` order.

    size_wh: image width and height in pixels. detected_ns: monotonic time at which the keypoints were
    available on this machine. capture_ms: milliseconds from capture to the start of detection.
    """

    header: Header
    size_wh: tuple[int, int]
    skeleton: str
    persons: tuple[Keypoints, ...]
    detected_ns: int
    capture_ms: float = 0.0

    def __post_init__(self) -> None:
        if min(self.size_wh) <= 0:
            raise ShapeError(f"size_wh: expected a positive width and height, got {self.size_wh}")

    def with_persons(self, persons: tuple[Keypoints, ...]) -> "KeypointFrame":
        """The same frame with other persons; faster than `replace`."""
        return KeypointFrame(
            self.header, self.size_wh, self.skeleton, persons, self.detected_ns, self.capture_ms
        )


@dataclass(frozen=True, slots=True)
class TrackedPerson:
    """One person of a camera at one time: id, state, and keypoints when the detector found the person.

    starts_window: keypoints from before must not share a window with these.
    """

    id: str
    state: State
    keypoints: Keypoints | None = None
    starts_window: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The lifter's input for one person: the last F frames, oldest first.

    keypoints (F, J, 3) float32: x px, y px, score, without NaN (filled-in joints have score 0);
    origin (F,) uint8 of `JointOrigin`; captured_ns (F,) int64.
    captured: if this window was resampled to a time grid, the window of captured frames it was made of.
    """

    keypoints: F32
    origin: U8
    captured_ns: I64
    size_wh: tuple[int, int]
    captured: "Window | None" = None

    def __post_init__(self) -> None:
        _check_array("window keypoints", self.keypoints, (None, None, 3), _FLOAT32)
        frames = self.keypoints.shape[0]
        _check_array("window origin", self.origin, (frames,), _UINT8)
        _check_array("window captured_ns", self.captured_ns, (frames,), _INT64)


@dataclass(frozen=True, slots=True)
class Contact:
    """Whether each foot rests on the floor; None where that is unknown, as for a hidden foot."""

    left: bool | None = None
    right: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rotations:
    """Joint rotations of one person on the B bones of the rig (`Meta.rig`).

    quat (B, 4) float32 unit quaternions in the order x, y, z, w: each bone's rotation relative to its parent;
    the first turns rest axes (x to the person's left, y up, z ahead) into the axes of the frame's `frame_id`.
    rest (B, 3) float32 m: each bone's head from its parent's head, in rest axes. twist (B,) uint8, how the
    rotation about the bone's own axis is known: 0 assumed, 1 measured, 2 held.
    """

    quat: F32
    rest: F32
    twist: U8

    def __post_init__(self) -> None:
        _check_array("rotations quat", self.quat, (None, 4), _FLOAT32)
        bones = self.quat.shape[0]
        _check_array("rotations rest", self.rest, (bones, 3), _FLOAT32)
        _check_array("rotations twist", self.twist, (bones,), _UINT8)


@dataclass(frozen=True, slots=True)
class RigInfo:
    """The rig that `Rotations` refer to: bone names, parent bone or -1, joint at each bone's head or -1."""

    bones: tuple[str, ...]
    parents: tuple[int, ...]
    heads: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One person in 3D.

    xyz (J, 3) float32: metres relative to the root, in the axes of the frame's `frame_id`, NaN where absent.
    score (J,) float32 in 0..1; origin (J,) uint8 of `JointOrigin`.
    root (3,) float32: metres in `frame_id`, or None; root_status: what its scale is based on.
    kp2d (J, 3) float32: pixels and score of the lifted keypoints, or None.
    contact: None if the contact of neither foot is known. repaired: indices of the joints that the detector
    had exchanged with the other side in this frame, before they were put right.
    """

    id: str
    state: State
    xyz: F32
    score: F32
    origin: U8
    root: F32 | None = None
    root_status: RootStatus = "none"
    kp2d: F32 | None = None
    contact: Contact | None = None
    rotations: Rotations | None = None
    repaired: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_array("pose xyz", self.xyz, (None, 3), _FLOAT32)
        joints = len(self.xyz)
        _check_array("pose score", self.score, (joints,), _FLOAT32)
        _check_array("pose origin", self.origin, (joints,), _UINT8)
        if self.root is not None:
            _check_array("pose root", self.root, (3,), _FLOAT32)
        if self.kp2d is not None:
            _check_array("pose kp2d", self.kp2d, (joints, 3), _FLOAT32)

    @property
    def visible(self) -> Mask:
        """(J,) joints detected in this frame or, on a time grid, in both captured frames around it."""
        # A value filled in for an undetected joint is interpolated too, but has score 0.
        mask: Mask = (self.origin == _OBSERVED) | ((self.origin == _INTERPOLATED) & (self.score > 0))
        return mask


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a frame spent in each stage, from capture until it is ready to send."""

    capture: float = 0.0
    detect: float = 0.0
    queue: float = 0.0
    lift: float = 0.0
    post: float = 0.0


@dataclass(frozen=True, slots=True)
class WindowInfo:
    """The history behind a pose: frames in the window, how many were captured, how many padded."""

    frames: int = 0
    real: int = 0
    padded: int = 0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The weights that computed a pose."""

    name: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PoseFrame:
    """Poses of all persons in one captured frame: the message that sinks send and subscribers get.

    lag: frames of look-ahead used. hop: frames between two lifts of this source at that time.
    dropped: frames of this source dropped since the start.
    frame_id: "<source>_optical_frame" for camera axes (x right, y down, z forward), any other name for a
    world with z up; the source's `Meta` has the transform as `Extrinsics`.
    """

    header: Header
    persons: tuple[Pose, ...]
    skeleton: str = "h36m17"
    session: str = ""
    mode: Mode = "live"
    lag: int = 0
    hop: int = 1
    window: WindowInfo = field(default_factory=WindowInfo)
    latency_ms: Latency = field(default_factory=Latency)
    model: ModelInfo = field(default_factory=ModelInfo)
    frame_id: str = ""
    published_unix_ns: int = 0
    dropped: int = 0

    def age_ms(self, now_unix_ns: int | None = None) -> float:
        """Milliseconds from capture to `now_unix_ns`, by default this machine's wall clock now."""
        now_unix_ns = time.time_ns() if now_unix_ns is None else now_unix_ns
        return (now_unix_ns - self.header.captured_unix_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Meta:
    """Description of a source for late joiners: skeleton, units, frame, model, and its camera if known."""

    source: str
    session: str
    skeleton: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    size_wh: tuple[int, int] | None
    frame_id: str
    units: str
    model: ModelInfo
    intrinsics: Intrinsics | None = None
    extrinsics: Extrinsics | None = None
    rig: RigInfo | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Health of a node: the counters, states and percentiles of `Health.report`."""

    node: str
    session: str
    unix_ns: int
    report: dict[str, Any]


Message = PoseFrame | Meta | Status


def all_joints_visible(xy: F32, score: F32) -> bool:
    """Whether all joints have a finite position in xy (J, 2) and a score (J,) above 0; False if J is 0."""
    scores: list[float] = score.tolist()  # For the few joints of a person lists are faster than arrays.
    finite = math.isfinite(sum(xy.ravel().tolist()) + sum(scores))
    return finite and min(scores, default=0.0) > 0


def _check_array(name: str, array: NDArray[Any], shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> None:
    """Raise ShapeError for another dtype or shape; None stands for any length and only leads `shape`."""
    actual = array.shape
    if array.dtype is dtype and actual == shape:
        return  # most arrays; the rest of this function takes twice as long
    any_lengths = shape.count(None)
    if array.dtype == dtype and len(actual) == len(shape) and actual[any_lengths:] == shape[any_lengths:]:
        return
    expected = tuple("any" if length is None else length for length in shape)
    raise ShapeError(f"{name}: expected shape {expected} {dtype.name}, got {actual} {array.dtype}")
