"""The packaged weights give the poses that were published with them, and stay below a known error.

Golden poses are in millimetres, of the newest frame of windows of the packaged recording. Detected keypoints
of a person near the border, near the camera and partly missing take every branch of the normalisation.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import lifter
from lifter.samples import cut_window, recording_as_window
from sources.synthetic import Synthetic
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import Window
from stream.protocols import ComponentContext

GOLDEN = json.loads((Path(__file__).parent / "golden_poses.json").read_text())
MAX_MPJPE_MM = {"small": 60.0, "medium": 60.0}


def newest_poses_mm(name):
    """Poses (3, 17, 3) in mm: a plain window, a near person at the border, and a person without legs."""
    runner = lifter.load(name, device="cpu", engine="eager")
    recording = recording_as_window(PACKAGED_RECORDING, runner.spec.skeleton)
    plain = cut_window(recording, 100, runner.spec.frames)
    near, legless = plain.keypoints.copy(), plain.keypoints.copy()
    near[..., :2] = (near[..., :2] - near[:, :1, :2]) * 3 + [40, 300]
    near[:, 13, 0] += 2000  # far outside: the input is clamped
    legless[:, [2, 3, 5, 6], 2] = 0
    windows = [
        plain,
        *(Window(k, plain.origin, plain.captured_ns, plain.size_wh) for k in (near, legless)),
    ]
    return runner.lift(windows, last=1)[:, 0] * 1000


@pytest.mark.parametrize("name", ["small", "medium"])
def test_the_packaged_weights_give_the_golden_poses(name):
    np.testing.assert_allclose(newest_poses_mm(name), np.array(GOLDEN[name]), atol=0.2)


@pytest.mark.parametrize("name", ["small", "medium"])
def test_the_packaged_weights_lift_the_synthetic_walker_below_a_known_error(name):
    runner = lifter.load(name, device="cpu", engine="eager")
    recording = recording_as_window(PACKAGED_RECORDING, runner.spec.skeleton)
    frames, starts = runner.spec.frames, (0, 200)
    windows = [cut_window(recording, start, frames) for start in starts]
    walker = Synthetic(Synthetic.Settings(), ComponentContext("walk"))
    truth = np.stack([[walker.truth(start + t)[0] for t in range(frames)] for start in starts])
    truth = truth - truth[:, :, :1]
    error_mm = 1000 * np.linalg.norm(runner.lift(windows) - truth, axis=-1).mean()
    assert error_mm < MAX_MPJPE_MM[name]
