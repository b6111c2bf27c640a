"""Recorded poses of any format (.jsonl, .npz, .mcap): their messages, and the keypoints they were lifted
from.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stream.errors import ConfigError, DecodeError
from stream.files import mcap, poses
from stream.files.arrays import array_names
from stream.files.lines import read_lines
from stream.messages import KeypointFrame, Keypoints, Meta, Pose, PoseFrame
from stream.wire.codec import decode

SUFFIXES = (".jsonl", ".npz", ".mcap")


def holds_poses(path: Path) -> bool:
    """Whether a file has poses rather than keypoints; a file that cannot be read has none."""
    try:
        if path.suffix == ".npz":
            return "xyz" in array_names(path)
        if path.suffix == ".jsonl":
            _, line = next(read_lines(path))
            return isinstance(decode(line), PoseFrame | Meta)
    except (OSError, StopIteration, ConfigError, DecodeError):
        return False
    return path.suffix == ".mcap"


def read_messages(path: Path, strict: bool = False) -> Iterator[PoseFrame | Meta]:
    """Pose frames and metas in order; captured_ns is 0 for the first pose frame.

    ConfigError, at once or while reading, when the file is missing, broken or of another format; strict: also
    for poses with other joints than their skeleton, which most sinks cannot take.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: expected recorded poses, a name ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ConfigError(f"{path}: expected a file of poses, but there is none")
    if path.suffix == ".mcap":
        return (
            message for message in mcap.read_messages(path, strict) if isinstance(message, PoseFrame | Meta)
        )
    return poses.read_messages(path, strict)


def read_keypoints(path: Path, size_wh: tuple[int, int] | None) -> Iterator[KeypointFrame]:
    """The keypoints of recorded poses (`kp2d`), as frames of captured_ns from 0.

    size_wh: of the images, for recordings without a `meta`. ConfigError when neither gives a size, or when no
    pose has keypoints.
    """
    sizes: dict[str, tuple[int, int] | None] = {}
    persons = keypoints = 0
    for message in read_messages(path):
        if isinstance(message, Meta):
            sizes[message.source] = message.size_wh
            continue
        header = message.header
        size = sizes.get(header.source, size_wh)
        if size is None:
            raise ConfigError(f"{path}: the recording has no size of the images; set size_wh")
        detected = tuple(_keypoints(person) for person in message.persons if _is_detected(person))
        persons, keypoints = persons + len(message.persons), keypoints + len(detected)
        yield KeypointFrame(header, size, message.skeleton, detected, header.captured_ns)
    if persons and not keypoints:
        raise ConfigError(f"{path}: poses without keypoints; record them with lifter.kp2d: true")


def _is_detected(person: Pose) -> bool:
    return person.kp2d is not None and bool((person.kp2d[:, 2] > 0).any())


def _keypoints(person: Pose) -> Keypoints:
    assert person.kp2d is not None
    xy, score = person.kp2d[:, :2].copy(), person.kp2d[:, 2].copy()
    missing = ~(np.isfinite(person.kp2d).all(axis=1) & (score > 0))
    xy[missing], score[missing] = np.nan, 0.0
    return Keypoints(xy, score, person.id)
