"""Windows of the packaged recording, for full lifts and for live updates."""

from collections.abc import Iterator
from functools import cache

import numpy as np

from lifter.samples import cut_window, recording_as_window
from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import JointOrigin, Window


def recorded_windows(spec: LifterSpec, number: int) -> list[Window]:
    """`number` windows of the packaged recording; ConfigError if it is shorter than one window."""
    recording = _packaged_recording(spec.skeleton)
    last_start = len(recording.keypoints) - spec.frames
    if last_start < 0:
        raise ConfigError(f"{spec.name}: the recording is shorter than a window of {spec.frames} frames")
    return [cut_window(recording, i * 7 % (last_start + 1), spec.frames) for i in range(number)]


def moving_windows(spec: LifterSpec, people: int, hop: int, updates: int) -> Iterator[list[Window]]:
    """For each update, a window per person that starts `hop` frames after the one before.

    The recording is played forward and backward; a shift of 0.01 px per lap makes every frame differ.
    """
    recording = _packaged_recording(spec.skeleton)
    keypoints = recording.keypoints
    laps = -(-(spec.frames + hop * updates) // len(keypoints))
    for update in range(updates):
        first = update * hop
        frames = np.arange(first, first + spec.frames)
        lap, index = frames // len(keypoints), frames % len(keypoints)
        index = np.where(lap % 2 == 0, index, len(keypoints) - 1 - index)
        windows = []
        for person in range(people):
            shifted = keypoints[index].copy()
            shifted[..., 0] += 0.01 * (lap + laps * person)[:, None]  # px
            origin = np.full(spec.frames, JointOrigin.OBSERVED, dtype=np.uint8)
            windows.append(Window(shifted, origin, frames * 20_000_000, recording.size_wh))
        yield windows


@cache
def _packaged_recording(skeleton: str) -> Window:
    return recording_as_window(PACKAGED_RECORDING, skeleton)
