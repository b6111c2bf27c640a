"""Small messages that several tests send, write and compare."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from stream.messages import (
    Header,
    KeypointFrame,
    Keypoints,
    Latency,
    Meta,
    ModelInfo,
    Pose,
    PoseFrame,
    Status,
    WindowInfo,
)

UNIX_NS = 1_700_000_000_000_000_000  # initial wall-clock time of a FakeClock
NOW_NS = 1_000_000_000  # its initial monotonic time
NAN = float("nan")


def f32(*values: object) -> Any:
    return np.array(values, np.float32)


def pose(id: str = "a3f9k", **changes: Any) -> Pose:
    """Two joints, the second absent."""
    values: dict[str, Any] = {
        "state": "ok",
        "xyz": f32([0.5, -0.25, 2], [NAN, NAN, NAN]),
        "score": f32(0.75, 0),
        "origin": np.array([1, 0], np.uint8),
    }
    return Pose(id=id, **(values | changes))


def pose_frame(seq: int = 7, source: str = "cam0", **changes: Any) -> PoseFrame:
    """One person, captured 20 ms before a FakeClock starts."""
    values: dict[str, Any] = {
        "persons": (pose(root=f32(0.5, 1, 4), root_status="height", kp2d=f32([320, 240, 1], [NAN, NAN, 0])),),
        "session": "6f1c",
        "lag": 3,
        "hop": 4,
        "window": WindowInfo(frames=243, real=200, padded=43),
        "latency_ms": Latency(detect=2.5, queue=0.5, lift=8.0),
        "model": ModelInfo("mixste", "00ff"),
        "frame_id": "cam0_optical_frame",
        "published_unix_ns": UNIX_NS,
        "dropped": 2,
    }
    values["header"] = Header(source, seq, NOW_NS - 20_000_000, UNIX_NS - 20_000_000)
    return PoseFrame(**(values | changes))


def keypoint_frame(seq: int = 7, source: str = "cam0") -> KeypointFrame:
    """Two persons of two joints, the first without an id and with one missing joint."""
    return KeypointFrame(
        header=Header(source, seq, NOW_NS - 20_000_000, UNIX_NS - 20_000_000),
        size_wh=(640, 480),
        skeleton="coco17",
        persons=(
            Keypoints(f32([320, 240], [NAN, NAN]), f32(0.5, 0)),
            Keypoints(f32([1, 2], [3, 4]), f32(1, 0.25), "b"),
        ),
        detected_ns=NOW_NS,
    )


def meta(source: str = "cam0") -> Meta:
    return Meta(
        source=source,
        session="6f1c",
        skeleton="pair",
        joints=("pelvis", "head"),
        parents=(-1, 0),
        flip_pairs=((0, 1),),
        size_wh=(640, 480),
        frame_id="cam0_optical_frame",
        units="m",
        model=ModelInfo("mixste", "00ff"),
    )


def status(node: str = "poselift") -> Status:
    stages_ms = {"lift": {"p50": 8.0, "p95": 9.0, "p99": 9.5, "n": 3}}
    report = {"counters": {"cam0.frames": 3}, "states": {}, "stages_ms": stages_ms}
    return Status(node, "6f1c", UNIX_NS, report)


def plain(value: Any) -> Any:
    """A message as nested dicts, lists and strings, comparable with == even with NaN."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, ["nan" if v != v else v for v in value.ravel().tolist()]]
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value
