"""A keypoints2d message, made with msgpack alone, as another program would."""

import msgpack
import numpy as np

TOPIC = b"keypoints2d/v1/cam0/"


def document(source: str = "cam0", seq: int = 1, t_ns: int = 1) -> bytes:
    values = {
        "v": 1, "schema": "keypoints2d", "source": source, "seq": seq, "t_capture_ns": t_ns,
        "size_wh": [640, 480], "skeleton": "coco17", "persons": [{"kp": np.ones((17, 3), "<f4").tobytes()}],
    }  # fmt: skip
    payload: bytes = msgpack.packb(values)
    return payload
