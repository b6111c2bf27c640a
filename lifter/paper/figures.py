"""Draw the paper's figures of pruning as PNG files: kept frames (Figure 7), a lifted motion (Figure 10)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lifter.paper import drawing
from lifter.paper.drawing import Points
from lifter.paper.kept_frames import kept_frames, with_pruner
from lifter.runner import Runner
from lifter.samples import cut_window, open_lifter, recording_as_window
from lifter.spec import LifterSpec, Schedule
from stream.errors import CheckpointError, ConfigError
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import Window

PRUNERS = ("tpc", "tpa", "tpmo", "tps")  # in the order of Figure 7
DEFAULT_COLUMNS, MAX_COLUMNS = 8, 60  # of Figure 10


def draw_kept_frames(
    keypoints: Path | None,
    output: Path,
    model: str | Path,
    pruners: Sequence[str] = PRUNERS,
    windows: int = 140,
    schedule: Schedule | None = None,
) -> Path:
    """Draw Figure 7 to `output`: the frames that each pruner keeps of windows that start one frame apart.

    keypoints: a recording (default: the packaged one). model: weights, by name or file, or an architecture
    at full size with random weights. schedule: replaces the lifter's stages; its pruner is not used.
    ConfigError for an output that cannot be written, or a recording that is too short.
    """
    check_png_output(output)
    if not pruners or windows < 1:
        raise ConfigError(f"expected at least one pruner and one window, got {len(pruners)} and {windows}")
    runner = open_lifter(model, schedule)
    frames = runner.spec.frames
    recording = _read_recording(keypoints, runner.spec, windows - 1, f"{windows} windows of {frames}")
    slices = [cut_window(recording, start, frames) for start in range(windows)]
    variants = {pruner: with_pruner(runner, pruner) for pruner in pruners}
    kept = {pruner: kept_frames(variant, slices) for pruner, variant in variants.items()}
    drawing.kept_frames_figure(kept, runner.spec).savefig(output)
    return output


def draw_lifted_motion(
    keypoints: Path | None,
    output: Path,
    model: str | Path,
    frames: Sequence[int] | None = None,
    start: int = 0,
    truth: Points | None = None,
) -> Path:
    """Draw Figure 10 to `output`: keypoints and poses of some frames of one window, the kept frames in red.

    keypoints: a recording (default: the packaged one); the window begins at its frame `start`. frames:
    numbers of frames of the recording (default: eight, evenly spaced over the window). truth (N, J, 3)
    metres in camera axes, of all frames of the recording (default: its array `truth`, if it has one).
    ConfigError for input that cannot be drawn, CheckpointError for weights that give NaN or infinity.
    """
    check_png_output(output)
    runner = open_lifter(model)
    spec = runner.spec
    if spec.output != "sequence":
        raise ConfigError(
            f"{spec.name} gives the pose of one frame of a window; expected a lifter of sequences"
        )
    if start < 0:
        raise ConfigError(f"start: expected a frame number from 0, got {start}")
    recording = _read_recording(keypoints, spec, start, f"a window from frame {start} on of {spec.frames}")
    truth = _load_truth(keypoints, truth, recording.keypoints.shape)
    if frames is None:
        evenly_spaced = np.linspace(0, spec.frames - 1, DEFAULT_COLUMNS).round().astype(int)
        frames = (start + evenly_spaced).tolist()
    _check_frames(frames, start, start + spec.frames - 1)
    columns = _lifted_columns(runner, recording, start, frames, truth)
    drawing.motion_figure(columns, spec).savefig(output)
    return output


def _check_frames(frames: Sequence[int], first: int, last: int) -> None:
    if not 1 <= len(frames) <= MAX_COLUMNS or any(not first <= frame <= last for frame in frames):
        raise ConfigError(
            f"frames: expected 1 to {MAX_COLUMNS} of the numbers {first} to {last}, got {list(frames)}"
        )


def _lifted_columns(
    runner: Runner, recording: Window, start: int, frames: Sequence[int], truth: Points | None
) -> list[drawing.FrameColumn]:
    """Lift the window from frame `start` on, and give a column for each of `frames`."""
    window = cut_window(recording, start, runner.spec.frames)
    kept, poses = kept_frames(runner, [window])[0], runner.lift([window])[0]
    if not np.isfinite(poses).all():
        raise CheckpointError(f"{runner.spec.name} gives NaN or infinity; its weights are damaged")
    return [
        drawing.FrameColumn(
            frame=frame,
            kept=bool(kept[frame - start]),
            keypoints=recording.keypoints[frame],
            pose=poses[frame - start],
            truth=None if truth is None else truth[frame] - truth[frame, 0],
        )
        for frame in frames
    ]


def check_png_output(output: Path) -> None:
    """Raise ConfigError, before any work, unless a PNG can be drawn and written to `output`."""
    if output.suffix != ".png":
        raise ConfigError(f"{output}: expected an output ending in .png")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: the folder {output.parent} does not exist; make it first")
    if find_spec("matplotlib") is None:
        raise ConfigError("figures need the package matplotlib; pip install 'poselift[train]'")


def _read_recording(path: Path | None, spec: LifterSpec, further_frames: int, what: str) -> Window:
    """All frames of a recording; ConfigError if it is shorter than a window and `further_frames`."""
    path = path or PACKAGED_RECORDING
    recording, needed = recording_as_window(path, spec.skeleton), spec.frames + further_frames
    if len(recording.keypoints) < needed:
        raise ConfigError(
            f"{path}: {what} frames take {needed}, the recording has {len(recording.keypoints)}"
        )
    return recording


def _load_truth(path: Path | None, truth: Points | None, shape: tuple[int, ...]) -> Points | None:
    """`truth`, or else the array of that name in the recording; ConfigError for another shape or NaN."""
    if truth is None and path is not None and path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            truth = file.get("truth")
    if truth is None:
        return None
    if truth.shape != shape or truth.dtype.kind != "f" or not np.isfinite(truth).all():
        raise ConfigError(
            f"truth: expected finite poses (N, J, 3) = {shape} in metres, got {truth.shape} {truth.dtype}"
        )
    return truth
