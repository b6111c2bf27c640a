"""Videos with measured 3D poses, and the detector's keypoints in them: test data of a report.

The folder contains `.npz` files with, for every video `<name>.mp4` beside them,
  <name>_X_cam_17_rootrel  (F, 17, 3) metres, Human3.6M joints relative to the pelvis, camera axes
  measured17               (17,) bool, joints that were measured, not derived from others (optional)
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from lifter.data import safe_load as safe
from lifter.evaluation.labelled_video import LabelledVideo
from lifter.joints import LIMB_JOINTS
from stream import skeletons
from stream.config.load import load
from stream.errors import ConfigError, EndOfStream
from stream.files import poses as pose_files
from stream.messages import F32
from stream.runtime.offline import config_for, lift

TRUTH_SUFFIX = "_X_cam_17_rootrel"
LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


def labelled_videos(folder: Path, variant: str = "full") -> list[LabelledVideo]:
    """All videos of a folder, in the order of their names, with MediaPipe's keypoints and its own 3D poses.

    variant: MediaPipe's model. ConfigError for a folder without videos and for broken files.
    """
    videos = [_video(folder, name, file) for file in sorted(folder.glob("*.npz")) for name in _names(file)]
    if not videos:
        raise ConfigError(f"{folder}: expected .npz files with arrays <name>{TRUTH_SUFFIX} beside <name>.mp4")
    return [_with_detections(*video, variant) for video in videos]


def published_poses(weights: str, film: LabelledVideo, config: str = "webcam") -> F32:
    """Poses (F, 17, 3) metres as published live: newest frames, sides repaired, smoothed as configured."""
    live = load(config)
    smoothing = msgspec.json.encode(live.smoothing).decode()
    with TemporaryDirectory() as folder:
        keypoints, poses = Path(folder) / "keypoints.npy", Path(folder) / "poses.npz"
        np.save(keypoints, film.keypoints)
        settings = {"weights": weights, "lag": 0, "hop": 1, "predict_s": len(film.truth) / film.rate_hz}
        source = {"fps": film.rate_hz, "size_wh": list(film.size_wh), "skeleton": "h36m17"}
        changes = [f"source.{name}={value}" for name, value in source.items()]
        changes.append(f"smoothing={smoothing}")
        lift(config_for(keypoints, poses, settings, changes), lambda frames: None)
        published = np.full_like(film.truth, np.nan)
        for frame in pose_files.read(poses):
            if frame.persons:
                published[frame.header.seq] = frame.persons[0].xyz
    return _hold_last(published)


def _names(file: Path) -> list[str]:
    with safe.open_npz(file) as arrays:
        return sorted(key.removesuffix(TRUTH_SUFFIX) for key in arrays if key.endswith(TRUTH_SUFFIX))


def _video(folder: Path, name: str, file: Path) -> tuple[str, Path, F32, tuple[int, ...]]:
    """Name, video file, true poses and the measured limb joints of a video."""
    with safe.open_npz(file) as arrays:
        truth = arrays[name + TRUTH_SUFFIX].astype(np.float32)
        measured = arrays["measured17"] if "measured17" in arrays else np.ones(17, bool)
    if truth.ndim != 3 or truth.shape[1:] != (17, 3) or not np.isfinite(truth).all():
        raise ConfigError(
            f"{file}: {name}{TRUTH_SUFFIX}: expected (F, 17, 3) finite metres, got {truth.shape}"
        )
    return name, folder / f"{name}.mp4", truth, tuple(joint for joint in LIMB_JOINTS if measured[joint])


def _with_detections(
    name: str, video: Path, truth: F32, joints: tuple[int, ...], variant: str
) -> LabelledVideo:
    frames = list(detections_in(video, variant))[: len(truth)]
    if len(frames) < len(truth):
        raise ConfigError(f"{video}: expected the {len(truth)} frames of the truth, it has {len(frames)}")
    times_ns, sizes, keypoints, world = zip(*frames, strict=True)
    rate_hz = (len(frames) - 1) * 1e9 / (times_ns[-1] - times_ns[0])
    return LabelledVideo(
        name, sizes[0], rate_hz, np.stack(keypoints), truth, _hold_last(np.stack(world)), joints
    )


def detections_in(video: Path, variant: str) -> Iterator[tuple[int, tuple[int, int], F32, F32]]:
    """Time in ns, image size, keypoints (17, 3) and MediaPipe's 3D pose (17, 3) m of every frame.

    Without a person the keypoints are 0 and the pose is NaN.
    """
    from sources.mediapipe import MediaPipe
    from sources.opencv import OpenCV
    from stream.protocols import ComponentContext, opened

    context, settings = ComponentContext(video.stem), OpenCV.Settings(url=str(video), pace="full")
    model: Any = variant
    detector = MediaPipe(MediaPipe.Settings(variant=model), context)
    with opened(OpenCV(settings, context)) as source, opened(detector):
        while True:
            try:
                frame = source.read(1.0)
            except EndOfStream:
                return
            if frame is None:
                continue
            detected, landmarks = detector.detect_with_3d(frame)
            keypoints, world = np.zeros((17, 3), np.float32), np.full((17, 3), np.nan, np.float32)
            if detected.persons:
                person = skeletons.convert(detected.persons[0], detected.skeleton)
                keypoints = np.column_stack([np.nan_to_num(person.xy), person.score])
                world = limb_pose(landmarks[0])
            yield frame.header.captured_ns, frame.size_wh, keypoints, world


def limb_pose(landmarks: F32) -> F32:
    """Pelvis and limbs (17, 3) relative to the pelvis, from landmarks (33, 3); other joints are NaN."""
    h36m, blazepose = (skeletons.skeleton_named(name).joints for name in ("h36m17", "blazepose33"))
    pose = np.full((17, 3), np.nan, np.float32)
    for side in ("left", "right"):
        for joint in LIMBS:
            name = f"{side}_{joint}"
            pose[h36m.index(name)] = landmarks[blazepose.index(name)]
    pose -= (pose[h36m.index("left_hip")] + pose[h36m.index("right_hip")]) / 2
    pose[0] = 0.0
    return pose


def _hold_last(poses: F32) -> F32:
    """Poses (F, 17, 3) with gaps filled by the last pose before them, or by the first pose of all."""
    valid = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    if not len(valid):
        raise ConfigError("the detector finds no person in the video")
    last = np.searchsorted(valid, np.arange(len(poses)), side="right") - 1
    held: F32 = poses[valid[np.maximum(last, 0)]]
    return held
