"""Read Human3.6M in the files of MotionBERT and MotionAGFormer: one pickle, or folders of clips.

The pickle has a "train" and a "test" part. Each part has arrays over all frames of all videos, one video
after the other: `joint_2d` (N, 17, 2) px and `confidence` (N, 17) or (N, 17, 1) of a detector,
`joint3d_image` (N, 17, 3) px with depth in px, `camera_name`, `source` (name of the video), and in the test
part `2.5d_factor` (N,) mm per px and `action`. Networks give `joint3d_image` in the units of their input:
x / w * 2 - 1, y / w * 2 - h / w, z / w * 2.

Clips are small pickles in folders `train/` and `test/`, cut from it, with `data_input` (F, 17, 3), x, y and
confidence, and `data_label` (F, 17, 3), both in those units. They have neither the length of a unit nor the
action, so their errors are computed as if every person had the size of an average adult.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lifter.data import safe_load as safe
from lifter.data.sequence import LabelledSequence
from lifter.normalise import SIZE_BONES, SIZE_M
from stream.errors import ConfigError
from stream.messages import F32

_CAMERAS_1002_PX_HIGH = {"54138969", "60457274"}  # the other cameras have 1000 x 1000 px
_ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases",
    "Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether",
)  # fmt: skip
_REQUIRED = ("joint_2d", "confidence", "joint3d_image", "camera_name", "source")
_RATE_HZ = 50.0  # of Human3.6M
_CLIP_WH = (1000, 1000)  # size of the assumed image; a clip is the same for any size


def read_motionbert(path: Path, split: str) -> Iterator[LabelledSequence]:
    """Videos of a split, "train" or "test", of a pickle or a folder of clips; truth is in network units.

    ConfigError for a file of another layout.
    """
    if path.is_dir():
        yield from _clips(path / split)
        return
    data = safe.read_pickle(path)
    if not isinstance(data, dict) or split not in data or any(key not in data[split] for key in _REQUIRED):
        raise ConfigError(
            f"{path}: expected a part {split!r} with {', '.join(_REQUIRED)}; is this MotionBERT's file?"
        )
    part = data[split]
    source = np.asarray(part["source"])
    starts = np.flatnonzero(np.r_[True, source[1:] != source[:-1]])
    for first, end in zip(starts, np.r_[starts[1:], len(source)], strict=True):
        yield _sequence(part, slice(int(first), int(end)))


def _sequence(part: dict[str, Any], frames: slice) -> LabelledSequence:
    width, height = 1000, 1002 if str(part["camera_name"][frames.start]) in _CAMERAS_1002_PX_HIGH else 1000
    xy = np.asarray(part["joint_2d"][frames], np.float32)
    score = np.asarray(part["confidence"][frames], np.float32).reshape(len(xy), 17, 1)
    image = np.asarray(part["joint3d_image"][frames], np.float32) / width * 2
    truth: F32 = (image - image[:, :1]).astype(np.float32)
    unit_m: F32 = np.full(len(xy), np.nan, np.float32)
    if "2.5d_factor" in part:
        unit_m = (np.asarray(part["2.5d_factor"][frames]) * (width / 2000)).astype(np.float32)
    return LabelledSequence(
        _action(part, frames),
        np.concatenate([xy, score], axis=-1),
        truth,
        (width, height),
        unit_m=unit_m,
        rate_hz=_RATE_HZ,
        video=str(part["source"][frames.start]),
    )


def _action(part: dict[str, Any], frames: slice) -> str:
    """Name of the action; the file has names, or numbers from 2."""
    if "action" not in part:
        return "all"
    action = part["action"][frames.start]
    return _ACTIONS[int(action) - 2] if str(action).isdigit() else str(action)


def is_clips(path: Path) -> bool:
    """Whether a path is a folder of clips."""
    return (path / "train").is_dir() or (path / "test").is_dir()


def _clips(folder: Path) -> Iterator[LabelledSequence]:
    files = sorted(folder.glob("*.pkl"))
    if not files:
        raise ConfigError(f"{folder}: expected MotionBERT's clips, such as 00000000.pkl, found none")
    for file in files:
        clip = safe.read_pickle(file)
        scaled, label = (_array(clip, key) for key in ("data_input", "data_label"))
        if scaled.shape != label.shape or scaled.ndim != 3 or scaled.shape[1:] != (17, 3):
            raise ConfigError(
                f"{file}: expected data_input and data_label (F, 17, 3), got {scaled.shape} and "
                f"{label.shape}; clips without 2D keypoints, as of AMASS, cannot be used"
            )
        yield _clip(scaled, label)


def _array(clip: Any, key: str) -> F32:
    value = clip.get(key) if isinstance(clip, dict) else None
    return value.astype(np.float32) if isinstance(value, np.ndarray) else np.zeros(0, np.float32)


def _clip(scaled: F32, label: F32) -> LabelledSequence:
    width, height = _CLIP_WH
    keypoints = scaled.copy()
    keypoints[..., :2] = (scaled[..., :2] + [1, height / width]) * (width / 2)
    truth = label - label[:, :1]
    joints, parents = zip(*SIZE_BONES, strict=True)
    size = np.linalg.norm(truth[:, joints] - truth[:, parents], axis=-1).sum(axis=1).mean()
    unit_m = np.full(len(truth), SIZE_M / max(float(size), 1e-6), np.float32)
    return LabelledSequence("clips", keypoints, truth, _CLIP_WH, unit_m=unit_m, rate_hz=_RATE_HZ)
