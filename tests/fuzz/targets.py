"""Every decoder and file reader, with valid inputs, the mutations that fit it, and its documented error."""

import asyncio
import io
import itertools
import json
import pickle
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq

from lifter.checkpoints.convert import read_checkpoint
from lifter.data.safe_load import read_npz, read_pickle
from lifter.engines.tuned import load_result
from lifter.spec import LifterSpec, Schedule
from lifter.weights import build, load, save
from sinks.browser.access import AccessRules, bearer_token, subprotocol_token
from sinks.browser.client import Client
from sinks.mcap import MCAP
from sources.keypoint_receiver import KeypointReceiver
from stream.cameras.intrinsics import Camera
from stream.clock import FakeClock
from stream.config.changes import apply_change
from stream.config.convert import to_struct
from stream.config.load import CONFIGS, resolve
from stream.errors import CheckpointError, ConfigError, DecodeError
from stream.files import keypoints, mcap, poses
from stream.files.strict_yaml import parse
from stream.health import Health
from stream.messages import Contact, Header, KeypointFrame, Keypoints, PoseFrame, Rotations
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog
from stream.rig import HUMANOID
from stream.runtime import lifter_protocol
from stream.runtime.camera_stages import CameraStages, LifterInput
from stream.runtime.relay import Relay
from stream.security import ClientKeys, ServerKeys, make_keys
from stream.skeletons import SKELETONS
from stream.tracking.clean import Cleaner
from stream.tracking.people_limit import PeopleLimit
from stream.wire.codec import decode, decode_keypoints, encode
from tests import examples
from tests.fuzz import mutate
from tests.fuzz.mutate import Mutation
from tests.golden import wire as golden

Read = Callable[[bytes], object]
MEMORY_DISK = Path("/dev/shm")


@dataclass(frozen=True)
class Target:
    """A decoder or reader under test.

    opened: gives the function that reads one input. errors: those it may raise. cost: how many times fewer
    inputs than usual a run tries, for slow readers. bounded: whether its memory has a bound.
    """

    name: str
    opened: Callable[[], AbstractContextManager[Read]]
    seeds: Callable[[], list[bytes]]
    mutations: Sequence[Mutation]
    errors: tuple[type[Exception], ...]
    cost: int = 1
    bounded: bool = True


TARGETS: list[Target] = []


def target(
    seeds: Callable[[], list[bytes]],
    *mutations: Mutation,
    errors: tuple[type[Exception], ...] = (),
    cost: int = 1,
    bounded: bool = True,
) -> Callable[[Callable[[], Iterator[Read]]], None]:
    """Register a generator that yields the reading function as a target of its own name."""

    def register(function: Callable[[], Iterator[Read]]) -> None:
        name = function.__name__
        TARGETS.append(Target(name, contextmanager(function), seeds, mutations, errors, cost, bounded))

    return register


@contextmanager
def file_named(name: str) -> Iterator[Path]:
    """Path of a file in a temporary folder, in memory where the system has such a folder."""
    folder = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        yield Path(temporary) / name


def read_all(items: Iterable[object]) -> None:
    for _ in items:
        pass


# Example messages


def keypoint_frames() -> list[KeypointFrame]:
    rng = np.random.default_rng(0)
    frames = []
    for seq, (name, skeleton) in enumerate(SKELETONS.items()):
        joints = len(skeleton.joints)
        persons = tuple(
            Keypoints(
                rng.uniform(0, 640, (joints, 2)).astype(np.float32),
                rng.uniform(0, 1, joints).astype(np.float32),
                id,
            )
            for id in (None, "b")
        )
        unix_ns = examples.UNIX_NS + seq * 20_000_000
        frames.append(KeypointFrame(Header("cam0", seq, 0, unix_ns), (640, 480), name, persons, 0))
    return frames


def pose_frames() -> list[PoseFrame]:
    bones = len(HUMANOID.bones)
    rotations = Rotations(
        np.tile(np.float32([0, 0, 0, 1]), (bones, 1)),
        np.zeros((bones, 3), np.float32),
        np.zeros(bones, np.uint8),
    )
    full = examples.pose("b", contact=Contact(True, None), rotations=rotations, repaired=(1,))
    return [examples.pose_frame(7), examples.pose_frame(8, persons=(examples.pose(), full))]


def whole_bodies() -> list[PoseFrame]:
    """Frames of a person with all joints of the skeleton."""
    joints = len(SKELETONS["h36m17"].joints)
    xyz = np.random.default_rng(2).normal(size=(joints, 3)).astype(np.float32)
    body = examples.pose(xyz=xyz, score=np.ones(joints, np.float32), origin=np.ones(joints, np.uint8))
    return [examples.pose_frame(seq, persons=(body,)) for seq in range(3)]


def keypoint_messages() -> list[bytes]:
    return [encode(frame) for frame in keypoint_frames()]


def wire_msgpack() -> list[bytes]:
    return [*golden.MSGPACK.values(), *keypoint_messages(), *map(encode, pose_frames())]


def wire_json() -> list[bytes]:
    messages = [*keypoint_frames()[:2], *pose_frames()]
    return [*golden.JSON.values(), *(encode(message, "json") for message in messages)]


# The wire


@target(wire_msgpack, mutate.msgpack, errors=(DecodeError,))
def messages_msgpack() -> Iterator[Read]:
    yield decode


@target(wire_json, mutate.as_json, errors=(DecodeError,))
def messages_json() -> Iterator[Read]:
    yield decode


@target(keypoint_messages, mutate.msgpack, errors=(DecodeError,))
def keypoints_msgpack() -> Iterator[Read]:
    yield decode_keypoints


@target(lambda: [*keypoint_messages(), *wire_json()], mutate.msgpack, mutate.as_json)
def network_sources() -> Iterator[Read]:
    """Junk is counted and dropped; a frame that gets through is cleaned, tracked and buffered."""
    clock, health = FakeClock(), Health()
    context = ComponentContext("net", clock=clock, health=health)
    receiver = KeypointReceiver(context, timeout_s=5.0)
    config = resolve({"sources": {"net": {"type": "keypoints_zmq"}}, "sinks": {"out": {"type": "memory"}}})
    cleaner, limit = Cleaner("h36m17", config.lifter.min_score, health), PeopleLimit()
    lifter_input = LifterInput("h36m17", 27, config.lifter.timing(50.0))
    numbers, cameras = itertools.count(), dict[str, CameraStages]()

    def read(data: bytes) -> None:
        clock.advance(0.02)
        frame = receiver.decode(data)
        if frame is None:
            return
        # In the order of arrival, as a source thread leaves them.
        header = Header("net", next(numbers), clock.now_ns(), clock.unix_ns())
        frame = cleaner.clean(replace(frame, header=header, detected_ns=clock.now_ns()))
        if "net" not in cameras:
            log = RateLimitedLog(clock)
            cameras["net"] = CameraStages(frame.size_wh, config, lifter_input, True, context, limit, log)
        cameras["net"].push(frame)
        if request := cameras["net"].buffer.pop_due(1, 0):
            request.windows(27)

    yield read


@target(lambda: [encode(frame) for frame in pose_frames()], mutate.msgpack)
def worker_messages() -> Iterator[Read]:
    """A message of a worker that cannot be decoded is counted and dropped."""
    relay = Relay({}, ComponentContext("relay", clock=FakeClock(), health=Health()))
    numbers = itertools.count()

    def read(data: bytes) -> None:
        worker = next(numbers)
        relay.forward(worker, b"pose3d/v1/cam0/", data)
        relay.release(worker)

    yield read


def lifter_messages(*messages: object) -> Callable[[], list[bytes]]:
    return lambda: [lifter_protocol.encode(message) for message in messages]


MODEL = lifter_protocol.Model(bytes(16), "tiny", "00ff", 27, 17)


@target(
    lifter_messages(
        lifter_protocol.Hello(1), lifter_protocol.Lift(2, bytes(16), 3, 100.0, [(640, 480), (1280, 720)])
    ),
    mutate.msgpack,
    errors=(DecodeError,),
)
def lifter_requests() -> Iterator[Read]:
    yield lifter_protocol.decode_request


@target(
    lifter_messages(
        lifter_protocol.Welcome(1, MODEL, "cpu"),
        lifter_protocol.Poses(2),
        lifter_protocol.Refused(3, "busy", True),
    ),
    mutate.msgpack,
    errors=(DecodeError,),
)
def lifter_answers() -> Iterator[Read]:
    yield lifter_protocol.decode_answer


# The browser


def page_requests() -> list[bytes]:
    requests = [
        {"type": "ping", "sent": 12.5},
        {"type": "keep", "from_ms": 1.7e12},
        {"type": "keep", "from_ms": None},
        {"type": "export", "format": "npz", "from_ms": 0, "to_ms": 1e13, "source": "cam0"},
    ]
    return [json.dumps(request).encode() for request in requests]


class Connection:
    """A page's connection that delivers messages, texts or bytes, and ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        yield self._data.decode("utf-8", "replace")
        yield self._data


@target(page_requests, mutate.as_json, cost=3)
def browser_requests() -> Iterator[Read]:
    loop = asyncio.new_event_loop()

    async def handle(client: Client, request: object) -> None:
        msgspec.json.encode(request)

    async def run(data: bytes) -> None:
        connection: Any = Connection(data)
        await Client(connection).run(handle)

    yield lambda data: loop.run_until_complete(run(data))
    loop.close()


@target(
    lambda: [b"localhost:8765\nhttp://localhost:8765\nBearer c2VjcmV0\nposelift.v1, token.c2VjcmV0"],
    mutate.text,
)
def browser_headers() -> Iterator[Read]:
    rules = AccessRules("long secret")

    def read(data: bytes) -> None:
        host, origin, bearer, protocols, *_ = [*data.decode("latin1").split("\n"), "", "", "", ""]
        rules.allows_host(host)
        rules.allows_origin(origin, host)
        assert not rules.allows_token(bearer_token(bearer))
        assert not rules.allows_token(subprotocol_token(protocols))

    yield read


# Files of keypoints and poses


def written(name: str, write: Callable[[Path], object]) -> bytes:
    with file_named(name) as path:
        write(path)
        return path.read_bytes()


def keypoint_npz() -> list[bytes]:
    frames = [frame for frame in keypoint_frames() if frame.skeleton == "coco17"] * 3
    return [written("a.npz", lambda path: keypoints.write(path, frames))]


def plain_arrays() -> list[bytes]:
    rng, files = np.random.default_rng(1), list[bytes]()
    for shape in ((3, 17, 3), (3, 17, 2), (2, 2, 17, 3)):
        file = io.BytesIO()
        np.save(file, rng.uniform(0, 1, shape).astype(np.float32))
        files.append(file.getvalue())
    return files


def pose_npz() -> list[bytes]:
    table = poses.PoseTable()
    table.set_meta(examples.meta())
    for frame in pose_frames():
        table.add(frame)
    return [written("a.npz", table.write)]


@target(keypoint_npz, mutate.archive, errors=(ConfigError,), cost=16)
def keypoint_npz_files() -> Iterator[Read]:
    with file_named("a.npz") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_all(keypoints.read(path))

        yield read


@target(plain_arrays, mutate.numpy_array, errors=(ConfigError,), cost=8)
def keypoint_npy_files() -> Iterator[Read]:
    defaults = keypoints.RecordingDefaults("coco17", 30.0, (640, 480), "cam0")
    with file_named("a.npy") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_all(keypoints.read(path, defaults))

        yield read


@target(
    lambda: [b"".join(encode(frame, "json") + b"\n" for frame in keypoint_frames()[:3])],
    mutate.lines(mutate.as_json),
    errors=(ConfigError,),
    cost=4,
)
def keypoint_jsonl_files() -> Iterator[Read]:
    with file_named("a.jsonl") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_all(keypoints.read(path))

        yield read


@target(pose_npz, mutate.archive, errors=(ConfigError,), cost=50)
def pose_npz_files() -> Iterator[Read]:
    with file_named("a.npz") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_all(poses.read_messages(path))

        yield read


@target(
    lambda: [b"".join(encode(message, "json") + b"\n" for message in (examples.meta(), *pose_frames()))],
    mutate.lines(mutate.as_json),
    errors=(ConfigError,),
    cost=4,
)
def pose_jsonl_files() -> Iterator[Read]:
    with file_named("a.jsonl") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_all(poses.read_messages(path))

        yield read


def mcap_files_valid() -> list[bytes]:
    def write(path: Path) -> None:
        sink = MCAP(
            MCAP.Settings(path=str(path)), ComponentContext("record", clock=FakeClock(), health=Health())
        )
        sink.open()
        for message in (examples.meta(), *whole_bodies(), examples.status()):
            sink.send(message)
        sink.close()

    return [written("a.mcap", write)]


@target(mcap_files_valid, mutate.records, errors=(ConfigError,), cost=25)
def mcap_files() -> Iterator[Read]:
    with file_named("a.mcap") as path, file_named("repaired.mcap") as repaired:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            mcap.repair(path, repaired)
            read_all(mcap.read_messages(path))

        yield read


# Configs, cameras, keys


def configs() -> list[bytes]:
    rich = b"""
node: test
sources:
  net: {type: keypoints_zmq, endpoint: "tcp://127.0.0.1:5557", timeout_s: 5.0}
  cam: {type: opencv, url: "rtsp://u:p@h/1", detector: {type: mediapipe, num_poses: 2}}
lifter: {weights: small, hop: 1, lag: half, resample: 50, max_age_ms: 1000.0}
tracking: &t {persons: largest, confirm_frames: 3}
smoothing: {one_euro: {min_cutoff_hz: 2}, bones: true}
scene:
  height_m: 1.8
  cameras: {cam: {fx: 900.0, fy: 900.0, cx: 320.0, cy: 240.0, size_wh: [640, 480], distortion: []}}
  world: {camera_pose: {cam: {position_m: [0, 0, 2], rpy_deg: [0, 20, 0]}}, floor: auto}
sinks:
  zeromq: {type: zeromq, port: 5555, queue: 8}
  mqtt: {type: mqtt, host: broker, username: me, password: secret}
  file: {type: jsonl, path: "poses-{time}.jsonl", max_mb: 100}
status_s: 5
workers: 2
"""
    return [rich, *(path.read_bytes() for path in sorted(CONFIGS.glob("*.yaml")))]


def configs_json() -> list[bytes]:
    return [json.dumps(parse(text.decode(), "seed")).encode() for text in configs()]


@target(configs, mutate.text, errors=(ConfigError,), cost=30)
def config_files() -> Iterator[Read]:
    yield lambda data: resolve(parse(data.decode("utf-8", "replace"), "a.yaml"))


@target(configs_json, mutate.as_json, errors=(ConfigError,), cost=10)
def config_trees() -> Iterator[Read]:
    def read(data: bytes) -> None:
        try:
            tree = json.loads(data)
        except (ValueError, RecursionError):
            return
        resolve(tree).to_dict()

    yield read


@target(
    lambda: [b"sinks.zeromq.port=5600", b"source.detector.variant=full", b"scene.cameras.net={fx: 1.0}"],
    mutate.text,
    errors=(ConfigError,),
    cost=5,
)
def config_changes() -> Iterator[Read]:
    def read(data: bytes) -> None:
        tree = {"sources": {"net": {"type": "keypoints_zmq"}}, "sinks": {"zeromq": {"type": "zeromq"}}}
        apply_change(tree, data.decode("utf-8", "replace"))
        resolve(tree)

    yield read


@target(
    lambda: [
        b'{"fx": 900.0, "fy": 900.0, "cx": 320.0, "cy": 240.0, "size_wh": [640, 480], '
        b'"distortion": [0.1, 0, 0, 0]}'
    ],
    mutate.as_json,
    errors=(ConfigError,),
    cost=3,
)
def camera_calibrations() -> Iterator[Read]:
    def read(data: bytes) -> None:
        try:
            tree = json.loads(data)
        except (ValueError, RecursionError):
            return
        if isinstance(tree, dict):
            settings = to_struct(Camera.Settings, {str(key): value for key, value in tree.items()}, "camera")
            camera = Camera.from_calibration(settings, (640, 480))
            camera.pinhole_rays(np.float32([[0, 0], [639, 479], [320, 240]]))

    yield read


def key_files() -> list[bytes]:
    with file_named("a.key") as path:
        secret = path.with_suffix(".key_secret")
        make_keys(secret, path)
        return [path.read_bytes(), secret.read_bytes()]


@target(key_files, mutate.text, mutate.mutate_bytes, errors=(ConfigError,), cost=10)
def curve_keys() -> Iterator[Read]:
    """A key that can be loaded can be used."""
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    with file_named("a.key") as path:
        secret, clients = path.with_suffix(".key_secret"), path.parent / "clients"
        good, good_secret = path.parent / "good.key", path.parent / "good.key_secret"
        make_keys(good_secret, good)
        clients.mkdir()

        def read(data: bytes) -> None:
            for file in (path, secret, clients / "client.key"):
                file.write_bytes(data)
                file.chmod(0o600)
            errors = 0
            for make in (
                lambda: ClientKeys(secret, good).apply(socket),
                lambda: ClientKeys(good_secret, path).apply(socket),
                lambda: ServerKeys(good_secret, clients),
            ):
                try:
                    make()
                except ConfigError:
                    errors += 1
            if errors:
                raise ConfigError(f"{errors} of three uses")

        yield read
    context.destroy(linger=0)


# Weights and data sets


def weights() -> list[bytes]:
    spec = LifterSpec(
        name="tiny",
        frames=9,
        in_channels=3,
        schedule=Schedule((5,), (1,)),
        config={"depth": 2, "width": 16, "heads": 2},
    )
    return [written("a.safetensors", lambda path: save(path, build(spec), spec))]


@target(weights, mutate.safetensors, errors=(CheckpointError, ConfigError), cost=25)
def weights_files() -> Iterator[Read]:
    with file_named("a.safetensors") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            load(path)

        yield read


def checkpoints() -> list[bytes]:
    import torch

    state = {"model": {"a.weight": torch.zeros(2, 3), "b": torch.ones(1)}, "epoch": 3, "lr": 1e-3}
    files = []
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=zipped)
        files.append(file.getvalue())
    return files


@target(checkpoints, mutate.mutate_bytes, errors=(CheckpointError,), cost=20)
def released_checkpoints() -> Iterator[Read]:
    with file_named("a.pt") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_checkpoint(path)

        yield read


@target(
    lambda: [pickle.dumps({"a": (1, {"c": b"bytes"}), "b": ["x", 1, 2.5]}, protocol) for protocol in (2, 4)],
    mutate.mutate_bytes,
    errors=(ConfigError,),
    cost=2,
    bounded=False,
)
def data_pickles() -> Iterator[Read]:
    """Pickles without arrays: NumPy's own unpickling is not made for damaged files, and can crash.

    Python's unpickler allocates what a damaged index asks for; the limit of the process ends that.
    """
    with file_named("a.pkl") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_pickle(path)

        yield read


@target(keypoint_npz, mutate.archive, errors=(ConfigError,), cost=16)
def data_npz() -> Iterator[Read]:
    with file_named("a.npz") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_npz(path)

        yield read


@target(lambda: [b'{"engine": "onednn", "ms": {"onednn": 1.5, "torch": 2}}'], mutate.as_json, cost=4)
def engine_results() -> Iterator[Read]:
    with file_named("a.json") as path:

        def read(data: bytes) -> None:
            path.write_bytes(data)
            load_result(path)

        yield read
