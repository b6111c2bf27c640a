"""Real videos with a known truth, seen by the detector: what a report measures lifters on.

The folder holds `.npz` files with, for every video `<name>.mp4` beside them,
  <name>_X_cam_17_rootrel  (F, 17, 3) metres, the joints of Human3.6M from the pelvis, camera axes
  measured17               (17,) bool, which joints were measured rather than made of others (optional)
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from lifter.data import safe_load as safe
from lifter.evaluation.footage import LIMB_JOINTS, Footage
from stream import skeletons
from stream.config.load import load
from stream.errors import ConfigError, EndOfStream
from stream.files import poses as pose_files
from stream.messages import F32
from stream.runtime.offline import config_for, lift

_TRUTH = "_X_cam_17_rootrel"
_JOINTS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


def labelled_videos(folder: Path, variant: str = "full") -> list[Footage]:
    """All videos of a folder, in the order of their names, with MediaPipe's keypoints and its own 3D."""
    videos = [_video(folder, name, file) for file in sorted(folder.glob("*.npz")) for name in _names(file)]
    if not videos:
        raise ConfigError(f"{folder}: expected .npz files with arrays <name>{_TRUTH} beside <name>.mp4")
    return [_seen(*video, variant) for video in videos]


def published_poses(weights: str, film: Footage, config: str = "webcam") -> F32:
    """Poses (F, 17, 3) metres that a config makes of the detector's keypoints: newest frames, made steady."""
    steady = msgspec.json.encode(load(config).smoothing).decode()
    with TemporaryDirectory() as folder:
        seen, poses = Path(folder) / "seen.npy", Path(folder) / "poses.npz"
        np.save(seen, film.keypoints)
        settings = {"weights": weights, "lag": 0, "hop": 1, "predict_s": len(film.truth) / film.rate_hz}
        source = {"fps": film.rate_hz, "size_wh": list(film.size_wh), "skeleton": "h36m17"}
        changes = [*(f"source.{name}={value}" for name, value in source.items()), f"smoothing={steady}"]
        lift(config_for(seen, poses, settings, changes), lambda frames: None)
        answers = np.full_like(film.truth, np.nan)
        for frame in pose_files.read(poses):
            if frame.persons:
                answers[frame.header.seq] = frame.persons[0].xyz
    return _held(answers)


def _names(file: Path) -> list[str]:
    with safe.arrays(file) as arrays:
        return sorted(key.removesuffix(_TRUTH) for key in arrays if key.endswith(_TRUTH))


def _video(folder: Path, name: str, file: Path) -> tuple[str, Path, F32, tuple[int, ...]]:
    """Name, video, truth and the limb joints that were measured."""
    with safe.arrays(file) as arrays:
        truth = arrays[name + _TRUTH].astype(np.float32)
        measured = arrays["measured17"] if "measured17" in arrays else np.ones(17, bool)
    if truth.ndim != 3 or truth.shape[1:] != (17, 3) or not np.isfinite(truth).all():
        raise ConfigError(f"{file}: {name}{_TRUTH}: expected (F, 17, 3) finite metres, got {truth.shape}")
    return name, folder / f"{name}.mp4", truth, tuple(joint for joint in LIMB_JOINTS if measured[joint])


def _seen(name: str, video: Path, truth: F32, joints: tuple[int, ...], variant: str) -> Footage:
    frames = list(_detected(video, variant))[: len(truth)]
    if len(frames) < len(truth):
        raise ConfigError(f"{video}: expected the {len(truth)} frames of the truth, it has {len(frames)}")
    times_ns, sizes, keypoints, world = zip(*frames, strict=True)
    rate_hz = (len(frames) - 1) * 1e9 / (times_ns[-1] - times_ns[0])
    return Footage(name, sizes[0], rate_hz, np.stack(keypoints), truth, _held(np.stack(world)), joints)


def _detected(video: Path, variant: str) -> Iterator[tuple[int, tuple[int, int], F32, F32]]:
    """Time in ns, image size, keypoints (17, 3) and MediaPipe's 3D (17, 3) of every frame.

    Where there is nobody, the 3D is NaN.
    """
    from sources.mediapipe import MediaPipe
    from sources.opencv import OpenCV
    from stream.protocols import ComponentContext, opened

    context, settings = ComponentContext(video.stem), OpenCV.Settings(url=str(video), pace="full")
    chosen: Any = variant
    detector = MediaPipe(MediaPipe.Settings(variant=chosen), context)
    with opened(OpenCV(settings, context)) as source, opened(detector):
        while True:
            try:
                frame = source.read(1.0)
            except EndOfStream:
                return
            if frame is None:
                continue
            seen, spatial = detector.detect_in_space(frame)
            keypoints, world = np.zeros((17, 3), np.float32), np.full((17, 3), np.nan, np.float32)
            if seen.persons:
                person = skeletons.convert(seen.persons[0], seen.skeleton)
                keypoints = np.column_stack([np.nan_to_num(person.xy), person.score])
                world = _limbs(spatial[0])
            yield frame.header.captured_ns, frame.size_wh, keypoints, world


def _limbs(spatial: F32) -> F32:
    """The pelvis and limbs among 17 joints (17, 3) of MediaPipe's 33 (33, 3); the others are NaN."""
    here, there = skeletons.skeleton_named("h36m17").joints, skeletons.skeleton_named("blazepose33").joints
    pose = np.full((17, 3), np.nan, np.float32)
    for side in ("left", "right"):
        for joint in _JOINTS:
            name = f"{side}_{joint}"
            pose[here.index(name)] = spatial[there.index(name)]
    middle = (pose[here.index("left_hip")] + pose[here.index("right_hip")]) / 2
    pose -= middle
    pose[0] = 0.0
    return pose


def _held(poses: F32) -> F32:
    """Poses (F, 17, 3) with the last one seen where there was nobody, or the first one that will be."""
    there = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    if not len(there):
        raise ConfigError("the detector sees nobody in the video")
    last = np.searchsorted(there, np.arange(len(poses)), side="right") - 1
    return poses[there[np.maximum(last, 0)]]
