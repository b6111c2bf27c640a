"""The exit code is right although threads still work in OpenCV or wait for a camera that hangs."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import started
from tests.sources.media import MotionJPEG

RESTLESS = """
import atexit, sys, threading
import cv2, numpy as np
from stream.cli.main import main

def blur():
    image = np.zeros((480, 640, 3), np.uint8)
    while True:
        cv2.GaussianBlur(image, (5, 5), 1.0)

for _ in range(2):
    threading.Thread(target=blur, daemon=True).start()
atexit.register(lambda: print("exit function"))
sys.argv[1:] = {arguments}
main()
"""

DETECTOR = """
import msgspec

class Detector:
    class Settings(msgspec.Struct, frozen=True):
        pass

    def __init__(self, settings, context):
        pass

    def open(self):
        pass

    close = open

    def detect(self, frame):
        from stream.messages import KeypointFrame
        return KeypointFrame(frame.header, frame.size_wh, "h36m17", (), 0)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [(["--help"], 0, "exit function"), (["check", "none.yaml"], 2, "none.yaml"), (["unknown"], 2, "unknown")],
)
def test_threads_in_opencv_do_not_abort_the_end(arguments: list[str], code: int, text: str) -> None:
    program = RESTLESS.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, text in done.stdout + done.stderr) == (code, True)


def test_a_node_whose_camera_is_decoding_ends_with_code_0(tmp_path: Path, tiny_weights: Path) -> None:
    with MotionJPEG() as camera:
        config = {
            "sources": {"cam0": {"type": "opencv", "url": camera.url, "detector": {"type": "spot:Detector"}}},
            "lifter": {"weights": str(tiny_weights), "threads": 1},
            "sinks": {"zeromq": {"type": "zeromq", "port": 0}},
        }
        (tmp_path / "spot.py").write_text(DETECTOR)
        (tmp_path / "node.yaml").write_text(json.dumps(config))
        program = f"import sys; sys.path.append({str(tmp_path)!r}); from stream.cli.main import main; main()"
        with started("-c", program, "run", str(tmp_path / "node.yaml")) as node:
            assert node.stdout is not None
            assert node.stdout.readline().startswith("zeromq: ")
            camera.wait_for(camera.sent + 5)
            node.send_signal(signal.SIGTERM)
            assert node.wait(60.0) == 0
