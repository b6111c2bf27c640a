"""Lift a whole file: the live pipeline at full speed, with half a window of look-ahead."""

import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sources.images import SUFFIXES as IMAGES
from sources.opencv.capture import open_file
from stream.config.load import Config, resolve
from stream.errors import ConfigError, PoseliftError
from stream.runtime.pipeline import Pipeline
from stream.runtime.signals import stopped_by_signals

if TYPE_CHECKING:
    from lifter.mean_lifter import MeanLifter

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".gif")
KEYPOINTS = (".jsonl", ".npz", ".npy", ".mcap")
OUTPUTS = {
    ".npz": "npz", ".jsonl": "jsonl", ".mcap": "mcap", ".bvh": "bvh", ".glb": "gltf", ".vrma": "gltf",
}  # fmt: skip

_PROGRESS_S = 0.2  # between two calls of `progress`


def lift(config: Config, progress: Callable[[int], None], lifter: "MeanLifter | None" = None) -> int:
    """Run `config` to its end; returns the number of lifted frames, also given to `progress` meanwhile.

    lifter: in place of that of the config.
    Raises the error that ended it early, and PoseliftError when a signal did.
    """
    pipeline, interrupted = Pipeline(config, lifter=lifter), threading.Event()

    def stop() -> None:
        interrupted.set()
        pipeline.stop()

    with stopped_by_signals(stop), pipeline:
        while not pipeline.wait(_PROGRESS_S):
            progress(pipeline.health.counter("lift", "frames"))
    if pipeline.error is not None:
        raise pipeline.error
    lifted = pipeline.health.counter("lift", "frames")
    progress(lifted)
    if interrupted.is_set():
        raise PoseliftError(f"stopped after {lifted} frames; the output has only these")
    return lifted


def config_for(source: Path, output: Path, lifter: dict[str, Any], changes: Iterable[str]) -> Config:
    """The config that lifts the video, image folder or keypoint file `source` into `output`.

    lifter: settings such as weights; changes: `key.sub=value`, as for every config. Raises ConfigError for
    paths that cannot be read or written.
    """
    check_output(source, output)
    return resolve(
        {
            "sources": {_name(source): _source(source)},
            "tracking": {"fix_left_right": True},
            "lifter": {"lag": "half", "predict_s": 1.0, "kp2d": True, **lifter},
            "sinks": {"output": output_sink(output)},
        },
        changes,
    )


def check_output(source: Path, output: Path, suffixes: Iterable[str] = OUTPUTS) -> None:
    """Raise ConfigError unless `output` can be written: a known suffix, an existing folder, not the input."""
    if output.suffix not in suffixes:
        raise ConfigError(f"{output}: expected an output ending in {', '.join(suffixes)}")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: the folder {output.parent} does not exist; make it first")
    if output.exists() and source.exists() and output.samefile(source):
        raise ConfigError(f"{output}: this is the input, which would be overwritten; choose another output")


def output_sink(output: Path) -> dict[str, Any]:
    """Config of the sink that writes the file `output`, which it may replace."""
    settings: dict[str, Any] = {"type": OUTPUTS[output.suffix], "path": str(output), "overwrite": True}
    if output.suffix == ".npz":
        settings["journal"] = False  # Lifting again makes the same file.
    return settings


def count(source: Path) -> int | None:
    """Number of frames of an image folder, or of a video whose header has it; otherwise None."""
    if source.is_dir():
        return sum(1 for path in source.iterdir() if path.suffix.lower() in IMAGES)
    if source.suffix.lower() not in VIDEOS or not source.is_file():
        return None
    video = open_file(source)
    try:
        return video.frames
    finally:
        video.release()


def _source(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    if path.is_dir():
        return {"type": "images", "path": str(path), "pace": "full"}
    if path.suffix.lower() in KEYPOINTS:
        return {"type": "recording", "path": str(path), "speed": "full"}
    if path.suffix.lower() in VIDEOS:
        return {"type": "opencv", "url": str(path), "pace": "full"}
    raise ConfigError(
        f"{path}: expected a video ({', '.join(VIDEOS)}), a folder of images, "
        f"or keypoints, also those of recorded poses ({', '.join(KEYPOINTS)})"
    )


def _name(path: Path) -> str:
    """The source name, for topics and recordings: the file's name without forbidden characters."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path.resolve().stem) or "input"
