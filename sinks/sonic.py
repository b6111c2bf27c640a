"""SONIC (GR00T whole-body control of the Unitree G1): a person as a stream of human motion, protocol 3.

For simulation only: this stream was never tried on a robot. Poses are put on a fixed skeleton of 1.7 m with
SMPL's 24 joints, at exactly 50 Hz, in windows of five overlapping frames, so that a lost message does not
make the receiver start over. When the followed person is lost, nothing is sent.
"""

import json
import math
from contextlib import ExitStack

import numpy as np
import zmq

from sinks.humanoid import SteadyRate, rig_frame
from sinks.max_age import MaxAge
from stream.errors import ConfigError, SinkUnavailable
from stream.messages import F32, Message, PoseFrame
from stream.protocols import ComponentContext
from stream.rig import HUMANOID
from stream.rotations import F64, matrices, quaternions
from stream.security import BindingSettings

HZ = 50
WINDOW = 5  # frames in a message; each appears in five messages
HEADER_BYTES = 1280
MAX_UNANSWERED_MS = 10_000  # without an acknowledgement by TCP the connection counts as lost at the latest
SEND_BUFFER_BYTES = 1 << 14  # the kernel's: some three messages, so that a slow receiver gets new ones
_TOPIC = b"pose"
_BODY_JOINTS, _ROBOT_JOINTS = 21, 29

# SMPL's joints in the receiver's order: name, parent, bone whose rotation carries the offset, offset in rest
# axes, m.
_JOINTS = (
    ("pelvis", "", "Hips", (0.0, 0.0, 0.0)),
    ("left_hip", "pelvis", "Hips", (0.07, -0.09, 0.0)),
    ("right_hip", "pelvis", "Hips", (-0.07, -0.09, 0.0)),
    ("spine1", "pelvis", "Hips", (0.0, 0.11, -0.02)),
    ("left_knee", "left_hip", "LeftUpperLeg", (0.0, -0.38, 0.0)),
    ("right_knee", "right_hip", "RightUpperLeg", (0.0, -0.38, 0.0)),
    ("spine2", "spine1", "Spine", (0.0, 0.135, 0.0)),
    ("left_ankle", "left_knee", "LeftLowerLeg", (0.0, -0.4, 0.0)),
    ("right_ankle", "right_knee", "RightLowerLeg", (0.0, -0.4, 0.0)),
    ("spine3", "spine2", "Chest", (0.0, 0.055, 0.0)),
    ("left_foot", "left_ankle", "LeftFoot", (0.0, -0.06, 0.13)),
    ("right_foot", "right_ankle", "RightFoot", (0.0, -0.06, 0.13)),
    ("neck", "spine3", "Chest", (0.0, 0.21, 0.0)),
    ("left_collar", "spine3", "Chest", (0.08, 0.12, 0.0)),
    ("right_collar", "spine3", "Chest", (-0.08, 0.12, 0.0)),
    ("head", "neck", "Neck", (0.0, 0.08, 0.05)),
    ("left_shoulder", "left_collar", "LeftShoulder", (0.1, 0.03, 0.0)),
    ("right_shoulder", "right_collar", "RightShoulder", (-0.1, 0.03, 0.0)),
    ("left_elbow", "left_shoulder", "LeftUpperArm", (0.26, 0.0, 0.0)),
    ("right_elbow", "right_shoulder", "RightUpperArm", (-0.26, 0.0, 0.0)),
    ("left_wrist", "left_elbow", "LeftLowerArm", (0.25, 0.0, 0.0)),
    ("right_wrist", "right_elbow", "RightLowerArm", (-0.25, 0.0, 0.0)),
    ("left_hand", "left_wrist", "LeftHand", (0.1, 0.0, 0.0)),
    ("right_hand", "right_wrist", "RightHand", (-0.1, 0.0, 0.0)),
)
JOINTS = tuple(name for name, *_ in _JOINTS)
# Rows: the receiver's axes (x ahead, y left, z up) in the y-up axes of the rig (x left, y up, z ahead).
_FROM_Y_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class SONIC:
    """Streams one person: the first one seen, until it is lost; then the next new one."""

    class Settings(BindingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """host: address to listen on for the receiver.
        port: TCP port to listen on for the receiver.
        source: only persons of this source; null takes the first person of any.
        max_age_ms: older poses are not sent; their persons count as lost.
        """

        host: str = "127.0.0.1"
        port: int = 5556
        source: str | None = None
        max_age_ms: float = 500.0

        def __post_init__(self) -> None:
            if not 0 <= self.port <= 65535:
                raise ConfigError(f"sonic port: expected 0 to 65535, got {self.port}")
            if not self.max_age_ms > 0:
                raise ConfigError(f"sonic max_age_ms: expected more than 0, got {self.max_age_ms}")
            self.check_binding("sonic", self.host)

    close_timeout_s = 1.0

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._max_age = MaxAge(settings.max_age_ms, context)
        self._keys = settings.server_keys()
        self._resources = ExitStack()
        self._socket: zmq.Socket[bytes] | None = None
        self._endpoint = f"tcp://{settings.host}:{settings.port}"
        self._person: tuple[str, str] | None = None
        self._rate = SteadyRate(HZ)
        self._window: list[tuple[int, F32, F32]] = []  # index, joints (24, 3), body quaternion w x y z
        self._index = 0

    @property
    def endpoint(self) -> str:
        return self._endpoint

    def open(self) -> None:
        context = self._resources.enter_context(zmq.Context())
        self._socket = self._resources.enter_context(context.socket(zmq.PUB))
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.SNDHWM, WINDOW)
        self._socket.set(zmq.SNDBUF, SEND_BUFFER_BYTES)
        # After a cut network the receiver connects anew instead of playing old motion.
        self._socket.set(zmq.TCP_MAXRT, math.ceil(min(self._settings.max_age_ms, MAX_UNANSWERED_MS)))
        if self._keys is not None:
            self._keys.apply(self._socket, self._resources)
        try:
            self._socket.bind(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise SinkUnavailable(f"{self._context.name}: {self._endpoint}: {error}") from error
        self._endpoint = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def close(self) -> None:
        self._socket = None
        self._resources.close()

    def send(self, message: Message) -> None:
        if not isinstance(message, PoseFrame):
            return
        source = message.header.source
        if self._settings.source not in (None, source):
            return
        message = self._max_age.fresh(message)
        present = {person.id for person in message.persons if person.state != "lost"}
        if self._person is not None and self._person[0] == source and self._person[1] not in present:
            self._person = None
        for person in message.persons:
            if self._person is None and person.state != "lost" and person.rotations is not None:
                self._person, self._rate, self._window = (source, person.id), SteadyRate(HZ), []
            if self._person == (source, person.id) and (rig := rig_frame(message, person)) is not None:
                for frame in self._rate.push(rig):
                    self._publish(matrices(frame.quat))

    def _publish(self, local: F64) -> None:
        assert self._socket is not None  # the pipeline sends only after `open`
        joints, quat = smpl_joints(local), body_quaternion(local[0])
        self._window = [*self._window[-(WINDOW - 1) :], (self._index, joints, quat)]
        self._index += 1
        if len(self._window) == WINDOW:
            self._socket.send(encode(self._window), zmq.NOBLOCK)


def smpl_joints(local: F64) -> F32:
    """SMPL's joints (24, 3) m on the fixed skeleton, pelvis at 0, in its axes: x ahead, y left, z up.

    local (B, 3, 3): rotations of the rig; the first, of the hips, does not matter here.
    """
    local = local.copy()
    local[0] = np.eye(3)
    world = HUMANOID.world_rotations(local)
    places: dict[str, F64] = {}
    for name, parent, bone, offset in _JOINTS:
        start = places[parent] if parent else np.zeros(3)
        places[name] = start + world[HUMANOID.index[bone]] @ np.array(offset)
    joints: F64 = np.array([places[name] for name in JOINTS]) @ _FROM_Y_UP.T
    return joints.astype(np.float32)


def body_quaternion(hips: F64) -> F32:
    """The pelvis's axes (x ahead, y left, z up) in a world with z up, (4,) w x y z; hips (3, 3) in y-up
    axes.
    """
    x, y, z, w = quaternions(_FROM_Y_UP @ hips @ _FROM_Y_UP.T)
    return np.array((w, x, y, z), np.float32)


def encode(window: list[tuple[int, F32, F32]]) -> bytes:
    """A message: topic, JSON header padded with zeros to 1280 bytes, arrays in the header's order."""
    n = len(window)
    arrays = {
        "smpl_joints": np.stack([joints for _, joints, _ in window]).astype("<f4"),
        "body_quat": np.stack([quat for *_, quat in window]).astype("<f4"),
        "smpl_pose": np.zeros((n, _BODY_JOINTS, 3), "<f4"),
        "joint_pos": np.zeros((n, _ROBOT_JOINTS), "<f4"),
        "joint_vel": np.zeros((n, _ROBOT_JOINTS), "<f4"),
        "frame_index": np.array([index for index, *_ in window], "<i8"),
    }
    kinds = {"f": "f32", "i": "i64"}
    fields = [
        {"name": name, "dtype": kinds[array.dtype.kind], "shape": list(array.shape)}
        for name, array in arrays.items()
    ]
    header = json.dumps(
        {"v": 3, "endian": "le", "count": 1, "fields": fields}, separators=(",", ":")
    ).encode()
    assert len(header) <= HEADER_BYTES
    return _TOPIC + header.ljust(HEADER_BYTES, b"\0") + b"".join(array.tobytes() for array in arrays.values())
