"""Walking people as pose frames, and a thread that sends them to a sink like a camera does."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sinks.browser import Browser
from sources.walking_figure import Walk, figure
from stream.camera_info import Extrinsics, Intrinsics
from stream.messages import Contact, Header, Latency, Meta, ModelInfo, Pose, PoseFrame, Status
from stream.rotations import quaternions
from stream.skeletons import skeleton_named

SKELETON = skeleton_named("h36m17")
HZ = 30.0
AGE_NS = 33_000_000  # of a frame when it is sent
# Optical axes of a camera 5 m behind the origin and 1.6 m above the floor, in a world with z up.
CAMERA_AT = np.array([-5.0, 0.0, 1.6])
CAMERA_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
SIZE_WH, FOCAL_PX = (1280, 720), 900.0


def walks(persons: int) -> list[Walk]:
    """Circles on which people walk without meeting."""
    return [
        Walk(
            height_m=1.6 + 0.06 * (n % 5),
            radius_m=1.0 + 0.25 * (n % 8),
            start_rad=2.4 * n,
            stride_phase=0.3 * n % 1,
            speed_m_s=1.0 + 0.07 * (n % 4),
        )
        for n in range(persons)
    ]


def frame(t_s: float, persons: int = 2, source: str = "cam0", world: bool = False, **changes) -> PoseFrame:
    """The people at a time, in the camera's axes or in the world."""
    poses = tuple(_pose(n, figure(t_s, walk), world) for n, walk in enumerate(walks(persons)))
    values = {
        "persons": poses,
        "session": "s1",
        "latency_ms": Latency(4.0, 11.0 + 3 * math.sin(t_s), 2.0, 9.0 + 2 * math.sin(3 * t_s), 0.6),
        "model": ModelInfo("small", "00"),
        "frame_id": "world" if world else f"{source}_optical_frame",
        "hop": 1,
    }
    header = Header(source, round(t_s * HZ), time.monotonic_ns() - AGE_NS, time.time_ns() - AGE_NS)
    return PoseFrame(**({"header": header} | values | changes))


def _pose(n: int, joints: np.ndarray, world: bool) -> Pose:
    camera = (joints - CAMERA_AT) @ CAMERA_AXES
    shown = joints if world else camera
    origin = np.ones(17, np.uint8)
    score = np.full(17, 0.93, np.float32)
    if n == 1:
        origin[[12, 13]], score[[12, 13]] = (2, 3), 0.0
    xy = camera[:, :2] / camera[:, 2:] * FOCAL_PX + np.array(SIZE_WH) / 2
    heights = joints[[6, 3], 2]
    left, right = (bool(height < heights.min() + 0.02) for height in heights)
    return Pose(
        id=f"p{n}",
        state="ok",
        xyz=(shown - shown[0]).astype(np.float32),
        score=score,
        origin=origin,
        root=shown[0].astype(np.float32),
        root_status="metric",
        kp2d=np.concatenate([xy, score[:, None]], axis=1).astype(np.float32),
        contact=Contact(left, right),
    )


def meta(source: str = "cam0", world: bool = False) -> Meta:
    """Description of the camera."""
    quat = tuple(quaternions(CAMERA_AXES).tolist())
    place = Extrinsics("world", f"{source}_optical_frame", tuple(CAMERA_AT.tolist()), quat, "given")
    return Meta(
        source=source,
        session="s1",
        skeleton="h36m17",
        joints=SKELETON.joints,
        parents=SKELETON.parents,
        flip_pairs=SKELETON.flip_pairs,
        size_wh=SIZE_WH,
        frame_id="world" if world else f"{source}_optical_frame",
        units="m",
        model=ModelInfo("small", "00"),
        intrinsics=Intrinsics("calibrated", FOCAL_PX, FOCAL_PX, 640.0, 360.0),
        extrinsics=place if world else None,
    )


def status(**states: tuple[str, str]) -> Status:
    """A report with these states of components."""
    described = {name: {"state": state, "detail": detail} for name, (state, detail) in states.items()}
    report = {"counters": {}, "states": described, "stages_ms": {}}
    return Status("poselift", "s1", time.time_ns(), report)


class Sender:
    """Sends frames at HZ, and metas every second, while it runs; change its attributes at any time."""

    def __init__(self, sink: Browser, persons: int = 2, sources: tuple[str, ...] = ("cam0",)) -> None:
        self.sink, self.persons, self.sources = sink, persons, sources
        self.world = False
        self.poses = self.metas = True
        self.edit: Callable[[PoseFrame], PoseFrame] = lambda made: made
        self.sent: list[PoseFrame] = []
        self._stop = threading.Event()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="walkers", daemon=True)

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def pause_poses(self) -> PoseFrame:
        """Send no further poses; returns the last ones."""
        with self._sending:
            self.poses = False
            return self.sent[-1]

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number, start_s = 0, time.monotonic()
        while not self._stop.wait(max(0.0, start_s + number / HZ - time.monotonic())):
            with self._sending:
                for index, source in enumerate(self.sources):
                    if self.metas and number % HZ == 0:
                        self.sink.send(meta(source, self.world))
                    if self.poses:
                        made = frame(number / HZ + 3 * index, self.persons, source, self.world)
                        made = self.edit(replace(made, header=replace(made.header, seq=number)))
                        self.sink.send(made)
                        self.sent.append(made)
            number += 1
