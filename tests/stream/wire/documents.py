"""Documents as plain dictionaries, and a way to change one value of them."""

from typing import Any

import msgpack

from tests.examples import keypoint_frame, meta, pose_frame, status

EXAMPLES = {"pose3d": pose_frame(), "keypoints2d": keypoint_frame(), "meta": meta(), "status": status()}
FORMATS = ("msgpack", "json")

XYZ = bytes.fromhex("0000003f 000080be 00000040 0000c07f 0000c07f 0000c07f")
POSE_DOCUMENT = {
    "v": 1,
    "schema": "pose3d",
    "session": "6f1c",
    "source": "cam0",
    "seq": 7,
    "t_capture_ns": 1_699_999_999_980_000_000,
    "t_publish_ns": 1_700_000_000_000_000_000,
    "lat_ms": {"capture": 0.0, "detect": 2.5, "queue": 0.5, "lift": 8.0, "post": 0.0},
    "mode": "live",
    "lag": 3,
    "hop": 4,
    "window": {"frames": 243, "real": 200, "padded": 43},
    "frame_id": "cam0_optical_frame",
    "units": "m",
    "skeleton": "h36m17",
    "model": {"name": "mixste", "sha256": "00ff"},
    "dropped": 2,
    "persons": [
        {
            "id": "a3f9k",
            "state": "ok",
            "score": 0.75,
            "xyz": XYZ,
            "conf": bytes.fromhex("0000403f 00000000"),
            "origin": b"\x01\x00",
            "root": {"pos": [0.5, 1.0, 4.0], "status": "height"},
            "kp2d": bytes.fromhex("0000a043 00007043 0000803f 0000c07f 0000c07f 00000000"),
        }
    ],
}
PLAIN_KEYPOINTS = {
    "v": 1,
    "schema": "keypoints2d",
    "size_wh": [640, 480],
    "skeleton": "coco17",
    "persons": [{"kp": [[320, 240, 0.5], [None, None, None]]}],
}


def changed(document: dict[str, Any], path: str, value: Any) -> bytes:
    """The document as MessagePack with one value replaced."""
    copy = msgpack.unpackb(msgpack.packb(document))
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    part = copy
    for key in parents:
        part = part[key]
    part[last] = value
    return msgpack.packb(copy)
