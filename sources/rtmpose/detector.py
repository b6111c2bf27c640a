"""RTMPose as a detector: a person detector finds boxes, a pose network finds the keypoints of each box."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from sources.rtmpose import model_files
from sources.rtmpose.networks import PersonNetwork, PoseNetwork
from stream.errors import ConfigError
from stream.messages import F32, Frame, KeypointFrame, Keypoints
from stream.protocols import ComponentContext

SAME_PERSON = 0.1  # mean distance between the keypoints of two poses, as a share of the larger box's height


class RTMPose:
    """Detects the 17 keypoints of COCO of every person in an image, each person in a box of its own.

    A crowd does not mix people up as a detector of the whole image does; the time of a frame grows with the
    number of people.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of the RTMPose detector.

        variant: The models to download: s (YOLOX-tiny and RTMPose-s) or m (YOLOX-m and RTMPose-m).

        person: A `.onnx` file, or a `.zip` that contains one, of a person detector to use in place of the
        downloaded one.

        pose: A `.onnx` file, or a `.zip` that contains one, of a pose network with 17 keypoints to use in
        place of the downloaded one.

        person_sha256: SHA-256 that the file `person` must have; null accepts every file.

        pose_sha256: SHA-256 that the file `pose` must have; null accepts every file.

        num_poses: Maximum number of persons; those with the highest scores.

        min_detection: Minimum score, 0 to 1, of a person's box.

        threads: CPU threads of each network.

        device: cpu, or cuda with the package onnxruntime-gpu.
        """

        variant: Literal["s", "m"] = "s"
        person: str | None = None
        pose: str | None = None
        person_sha256: str | None = None
        pose_sha256: str | None = None
        num_poses: int = 10
        min_detection: float = 0.5
        threads: int = 1
        device: Literal["cpu", "cuda"] = "cpu"

        def __post_init__(self) -> None:
            for name in ("num_poses", "threads"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name}: expected a number from 1, got {getattr(self, name)}")
            if not 0 <= self.min_detection <= 1:
                raise ConfigError(f"min_detection: expected a score in 0..1, got {self.min_detection}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.settings = settings
        self._context = context
        self._people: PersonNetwork | None = None
        self._poses: PoseNetwork | None = None

    def open(self) -> None:
        """Load both networks, which are downloaded first when they are not in the cache.

        Raises ConfigError without onnxruntime or for an unsuitable model file, SourceUnavailable when a file
        cannot be downloaded.
        """
        settings = self.settings
        person = self._model("person", settings.person, settings.person_sha256)
        pose = self._model("pose", settings.pose, settings.pose_sha256)
        self._people = PersonNetwork(person, settings.threads, settings.device)
        self._poses = PoseNetwork(pose, settings.threads, settings.device)

    def close(self) -> None:
        self._people = self._poses = None

    def _model(self, network: Literal["person", "pose"], file: str | None, sha256: str | None) -> bytes:
        """The ONNX model of a network."""
        if file is None:
            return model_files.fetch(network, self.settings.variant)
        return model_files.read(Path(file), sha256, network)

    def detect(self, frame: Frame) -> KeypointFrame:
        """The people in `frame` as "coco17", those with the highest scores first."""
        if self._people is None or self._poses is None:
            raise RuntimeError("detect: expected an open detector")
        boxes = self._people.find(frame.image, self.settings.min_detection)[: self.settings.num_poses]
        poses = [self._poses.find(frame.image, box) for box in boxes]
        return KeypointFrame(
            header=frame.header,
            size_wh=frame.size_wh,
            skeleton="coco17",
            persons=tuple(Keypoints(xy=xy, score=score) for xy, score in _different(poses, boxes)),
            detected_ns=self._context.clock.now_ns(),
        )


def _different(poses: list[tuple[F32, F32]], boxes: F32) -> list[tuple[F32, F32]]:
    """The poses without those of a person that has a better one: two boxes may hold the same person."""
    kept: list[tuple[F32, F32, float]] = []
    order = sorted(range(len(poses)), key=lambda index: -float(poses[index][1].mean()))
    for index in order:
        (xy, score), height = poses[index], float(boxes[index][3] - boxes[index][1])
        distances = [
            float(np.linalg.norm(xy - other, axis=1).mean()) / max(height, other_height, 1.0)
            for other, _, other_height in kept
        ]
        if all(distance > SAME_PERSON for distance in distances):
            kept.append((xy, score, height))
    return [(xy, score) for xy, score, _ in kept]
