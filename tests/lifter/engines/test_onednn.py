"""The engine onednn: bounded memory for batches of ever new shapes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import numpy as np
from lifter import load
from stream.messages import Window

def rss_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4 / 1024

runner = load(sys.argv[1], device="cpu", threads=1, engine="onednn")
frames = runner.spec.frames
window = Window(np.full((frames, 17, 3), 0.5, np.float32), np.ones(frames, np.uint8),
                np.arange(frames, dtype=np.int64), (640, 480))
runner.lift([window] * 16)
before = rss_mib()
for last in range(1, 5):
    for windows in range(1, 17):
        runner.lift([window] * windows, last)
print(rss_mib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from /proc")
def test_batches_of_ever_new_shapes_take_little_memory(tiny_weights: Path):
    names = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_weights)],
        capture_output=True, text=True, timeout=240, env=environment, check=True,
    )  # fmt: skip
    assert float(done.stdout) < 70
