"""The README's first command, from the packaged recording to the picture."""

import subprocess
import sys
from pathlib import Path

from PIL import Image


def test_the_demo_lifts_listens_and_draws(tmp_path: Path):
    picture = tmp_path / "demo.gif"
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", "demo", "--output", str(picture)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "poses at zeromq: tcp://127.0.0.1:" in done.stdout
    assert "poses/s" in done.stdout  # the second process's lines
    assert f"The lifted motion: {picture}" in done.stdout
    assert "Traceback" not in done.stderr
    with Image.open(picture) as image:
        assert image.n_frames > 100  # 12 s at 12.5 pictures a second, less what it takes to subscribe
        assert image.width == 3 * image.height
