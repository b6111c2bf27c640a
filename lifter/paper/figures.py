"""The paper's pictures of pruning as PNGs: what each pruner keeps (Figure 7), a lifted motion (Figure 10)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lifter.paper import drawing
from lifter.paper.drawing import Points
from lifter.paper.kept_frames import cut, opened, selection, sequence, with_pruner
from lifter.spec import LifterSpec, Schedule
from stream.errors import CheckpointError, ConfigError
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import Window

PRUNERS = ("tpc", "tpa", "tpmo", "tps")  # in the order of Figure 7
_SHOWN, _MOST_SHOWN = 8, 60  # columns of Figure 10


def selected(
    keypoints: Path | None,
    output: Path,
    model: str | Path,
    pruners: Sequence[str] = PRUNERS,
    windows: int = 140,
    schedule: Schedule | None = None,
) -> Path:
    """Draw Figure 7 to `output`: what each pruner keeps of windows one frame apart, and each place how often.

    keypoints: a recording (default: the packaged one). model: weights, by name or file, or an architecture,
    full-size with random weights. schedule: other stages than its own; its pruner does not count.
    """
    writable_png(output)
    if not pruners or windows < 1:
        raise ConfigError(f"expected at least one pruner and one window, got {len(pruners)} and {windows}")
    runner = opened(model, schedule)
    frames = runner.spec.frames
    seen = _recorded(keypoints, runner.spec, windows - 1, f"{windows} windows of {frames}")
    slices = [cut(seen, start, frames) for start in range(windows)]
    variants = {pruner: with_pruner(runner, pruner) for pruner in pruners}
    chosen = {pruner: selection(each, slices) for pruner, each in variants.items()}
    drawing.marks(chosen, runner.spec).savefig(output)
    return output


def lifted(
    keypoints: Path | None,
    output: Path,
    model: str | Path,
    frames: Sequence[int] | None = None,
    start: int = 0,
    truth: Points | None = None,
) -> Path:
    """Draw Figure 10 to `output`: keypoints and poses of some frames of one window, the selected ones red.

    keypoints: a recording (default: the packaged one); the window begins at its frame `start`. frames:
    numbers of frames of the recording (default: eight, evenly spaced over the window). truth (N, J, 3)
    metres in camera axes, of all frames of the recording (default: its array `truth`, if it has one).
    """
    writable_png(output)
    runner = opened(model)
    spec = runner.spec
    if spec.output != "sequence":
        raise ConfigError(f"{spec.name} answers for one frame of a window; expected a lifter of sequences")
    if start < 0:
        raise ConfigError(f"start: expected a frame number from 0, got {start}")
    seen = _recorded(keypoints, spec, start, f"a window from frame {start} on of {spec.frames}")
    true = _truth(keypoints, truth, seen.keypoints.shape)
    places = np.arange(start, start + spec.frames)
    if frames is None:
        frames = places[np.linspace(0, spec.frames - 1, _SHOWN).round().astype(int)].tolist()
    if not 1 <= len(frames) <= _MOST_SHOWN or not np.isin(frames, places).all():
        raise ConfigError(
            f"frames: expected 1 to {_MOST_SHOWN} of the numbers {start} to {places[-1]}, got {list(frames)}"
        )
    window = cut(seen, start, spec.frames)
    kept, poses = selection(runner, [window])[0], runner.lift([window])[0]
    if not np.isfinite(poses).all():
        raise CheckpointError(f"{spec.name} answers with NaN or infinity; its weights are damaged")
    columns = [
        drawing.Column(
            frame=frame,
            selected=bool(kept[frame - start]),
            keypoints=seen.keypoints[frame],
            pose=poses[frame - start],
            truth=None if true is None else true[frame] - true[frame, 0],
        )
        for frame in frames
    ]
    drawing.columns(columns, spec).savefig(output)
    return output


def writable_png(output: Path) -> None:
    """Refuse before the work what would fail after it."""
    if output.suffix != ".png":
        raise ConfigError(f"{output}: expected an output ending in .png")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: the folder {output.parent} does not exist; make it first")
    if find_spec("matplotlib") is None:
        raise ConfigError("figures need the package matplotlib; pip install 'poselift[train]'")


def _recorded(path: Path | None, spec: LifterSpec, further: int, what: str) -> Window:
    """All of a recording that has a window and `further` frames."""
    path = path or PACKAGED_RECORDING
    seen, needed = sequence(path, spec.skeleton), spec.frames + further
    if len(seen.keypoints) < needed:
        raise ConfigError(f"{path}: {what} frames take {needed}, the recording has {len(seen.keypoints)}")
    return seen


def _truth(path: Path | None, given: Points | None, shape: tuple[int, ...]) -> Points | None:
    if given is None and path is not None and path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            given = file.get("truth")
    if given is None:
        return None
    if given.shape != shape or given.dtype.kind != "f" or not np.isfinite(given).all():
        raise ConfigError(
            f"truth: expected poses (N, J, 3) = {shape} in metres, all of them numbers, "
            f"got {given.shape} {given.dtype}"
        )
    return given
