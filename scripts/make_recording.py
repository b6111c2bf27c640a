"""Make the packaged recording of keypoints: one lap of the synthetic walker, seen by a virtual camera.

    python scripts/make_recording.py [FILE]

The walker is back where it started after 12 s, so that the recording can be played in a loop.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from sources.synthetic import LAP_S, Synthetic
from stream.errors import EndOfStream
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext, opened


def frames() -> Iterator[KeypointFrame]:
    """50 Hz, 2 px of noise, 2 % of the joints missing, as a good 2D detector would have it."""
    settings = Synthetic.Settings(fps=50.0, frames=round(50 * LAP_S), noise_px=2.0, missing=0.02, pace="full")
    with opened(Synthetic(settings, ComponentContext("walk"))) as source:
        try:
            while frame := source.read(1.0):
                yield frame
        except EndOfStream:
            return


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGED_RECORDING
    path.parent.mkdir(exist_ok=True)
    keypoint_files.write(path, frames())
    print(f"{path}: {path.stat().st_size / 1024:.0f} KB")
