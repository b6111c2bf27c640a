"""The first command of the README: from the packaged recording to a drawing of the received poses."""

import subprocess
import sys
from pathlib import Path

from PIL import Image


def test_the_demo_lifts_live_and_draws_the_received_poses(tmp_path: Path):
    output = tmp_path / "demo.gif"
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", "demo", "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "poses at zeromq: tcp://127.0.0.1:" in done.stdout
    assert "poses/s" in done.stdout  # printed by the second process
    assert f"frames that the subscriber received: {output}" in done.stdout
    assert "Traceback" not in done.stderr
    with Image.open(output) as image:
        assert image.n_frames > 100  # 12 s at 12.5 images per second, minus the time to subscribe
        assert image.width == 3 * image.height
