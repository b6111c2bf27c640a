"""Send 2D keypoints of your own detector to a node, which lifts them: `poselift run keypoints`.

    python examples/send_keypoints.py [tcp://127.0.0.1:5557]

Needs only numpy, pyzmq and msgspec. Replace `detect` by your camera and detector.
"""

import sys
import time

import msgspec
import numpy as np
import zmq

ENDPOINT = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5557"
# A standing person in the order of coco17: nose, eyes, ears, then shoulders to ankles, left before right.
X_PX = [320, 328, 312, 336, 304, 350, 290, 365, 275, 370, 270, 340, 300, 342, 298, 344, 296]
Y_PX = [80, 72, 72, 76, 76, 130, 130, 190, 190, 245, 245, 250, 250, 330, 330, 405, 405]


def detect(seq: int) -> list[np.ndarray]:
    """Keypoints (17, 3) float32 of every person in the image: x px, y px, score in 0..1."""
    sway_px = 20 * np.sin(seq / 15)
    return [np.array([(x + sway_px, y, 0.9) for x, y in zip(X_PX, Y_PX, strict=True)], "<f4")]


with zmq.Context() as context, context.socket(zmq.PUB) as socket:
    socket.bind(ENDPOINT)
    for seq in range(1_000_000):
        message = {"v": 1, "schema": "keypoints2d", "source": "cam0", "seq": seq}
        message["t_capture_ns"] = time.time_ns()  # better: the time at which the image was captured
        message["size_wh"] = [640, 480]  # width and height of the image in pixels
        message["skeleton"] = "coco17"  # or h36m17, blazepose33, halpe26, body25
        message["persons"] = [{"kp": person.tobytes()} for person in detect(seq)]
        socket.send_multipart([b"keypoints2d/v1/cam0/", msgspec.msgpack.encode(message)])
        time.sleep(0.02)
