"""Where MediaPipe puts the joints, against videos with a measured 3D pose.

    python benchmarks/detector_offsets.py DIR

DIR holds videos `<name>.mp4` and `.npz` files with `<name>_X_cam_17` (F, 17, 3) m in camera axes, `<name>_K`
and `<name>_dist` of the camera. Each keypoint's ray is followed to the depth of the true joint; its distance
from the joint is given along the trunk (positive towards the head) and across it (positive towards the left
of the image for an upright person), as median over the frames, in mm and in percent of the trunk. The joints
are the detector's own, before any correction. Prints a table for each video, then one JSON line.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from lifter.data import safe_load as safe
from sources.mediapipe import MediaPipe
from sources.opencv import OpenCV
from stream.errors import EndOfStream
from stream.messages import F32
from stream.protocols import ComponentContext, opened
from stream.rotations import F64
from stream.skeletons import skeleton_named

TRUTH = "_X_cam_17"
MM = 1000.0
PARTS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
PELVIS, THORAX = (skeleton_named("h36m17").index_of[name] for name in ("pelvis", "thorax"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    results = {}
    for file in sorted(folder.glob("*.npz")):
        with safe.open_npz(file) as arrays:
            for key in sorted(key for key in arrays if key.endswith(TRUTH)):
                name = key.removesuffix(TRUTH)
                camera = arrays[f"{name}_K"], arrays[f"{name}_dist"]
                results[name] = offsets_mm(folder / f"{name}.mp4", arrays[key], *camera)
                show(name, results[name])
    print(json.dumps({"benchmark": "detector_offsets", **results}))


def offsets_mm(video: Path, truth: F64, matrix: F64, distortion: F64) -> dict[str, list[float]]:
    """Median offset along and across the trunk in mm, and along it in percent of the trunk, by joint."""
    offsets: dict[str, list[F64]] = {}
    for landmarks, pose in zip(detections(video), truth, strict=False):
        if landmarks is None:
            continue
        rays = cv2.undistortPoints(landmarks[:, None].astype(np.float64), matrix, distortion)[:, 0]
        trunk = pose[THORAX, :2] - pose[PELVIS, :2]
        up = trunk / np.linalg.norm(trunk)
        axes = np.stack([up, [up[1], -up[0]]])
        length_m = float(np.linalg.norm(pose[THORAX] - pose[PELVIS]))
        for part in PARTS:
            for side in ("left", "right"):
                point = pose[skeleton_named("h36m17").index_of[f"{side}_{part}"]]
                ray = rays[skeleton_named("blazepose33").index_of[f"{side}_{part}"]]
                along, across = axes @ (ray * point[2] - point[:2])
                row = np.array([MM * along, MM * across, 100 * along / length_m])
                offsets.setdefault(part, []).append(row)
    return {part: np.median(rows, axis=0).round(1).tolist() for part, rows in offsets.items()}


def detections(video: Path) -> list[F32 | None]:
    """Landmarks (33, 2) px of the first person of every frame, or None."""
    context, found = ComponentContext(video.stem), list[F32 | None]()
    source = OpenCV(OpenCV.Settings(url=str(video), pace="full"), context)
    detector = MediaPipe(MediaPipe.Settings(), context)
    with opened(source), opened(detector):
        while True:
            try:
                frame = source.read(1.0)
            except EndOfStream:
                return found
            if frame is not None:
                persons = detector.detect(frame).persons
                found.append(persons[0].xy if persons else None)


def show(name: str, offsets: dict[str, list[float]]) -> None:
    print(f"{name:<10}{'along mm':>10}{'across mm':>11}{'along %':>9}")
    for part, (along_mm, across_mm, percent) in offsets.items():
        print(f"{part:<10}{along_mm:>10.1f}{across_mm:>11.1f}{percent:>9.1f}")


if __name__ == "__main__":
    main()
