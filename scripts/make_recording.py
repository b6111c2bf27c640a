"""Write the packaged recording of keypoints: one lap of the synthetic walker in front of a virtual camera.

    python scripts/make_recording.py [FILE]

After one lap, 12 s, the walker is back at the same place and phase of the step, so the recording can loop.
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

FPS = 50.0


def frames() -> Iterator[KeypointFrame]:
    """The lap with the errors of a good 2D detector: 2 px of noise, 2 % of the joints missing."""
    settings = Synthetic.Settings(fps=FPS, frames=round(FPS * LAP_S), noise_px=2.0, missing=0.02, pace="full")
    with opened(Synthetic(settings, ComponentContext("walk"))) as source:
        try:
            while frame := source.read(timeout_s=1.0):
                yield frame
        except EndOfStream:
            return


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGED_RECORDING
    path.parent.mkdir(exist_ok=True)
    keypoint_files.write(path, frames())
    print(f"{path}: {path.stat().st_size / 1024:.0f} KB")
