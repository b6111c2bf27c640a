"""The two networks of RTMPose in ONNX Runtime, with the pre- and postprocessing of their training.

Person detector: input (1, 3, H, W) float32, B G R, 0 to 255, the image scaled into the upper left corner on
grey 114; outputs `dets` (1, N, 5) x0, y0, x1, y1 and score in pixels of the input, after suppression of
overlapping boxes, and `labels` (1, N), of which 0 is a person. Pose network: input (1, 3, H, W), R G B,
normalised by the mean and deviation of ImageNet; outputs `simcc_x` (1, 17, 2 W) and `simcc_y` (1, 17, 2 H),
a score for every half pixel of each axis (Jiang et al. 2023, "RTMPose", section 3.1).
"""

from typing import Any

import numpy as np

from stream.errors import ConfigError
from stream.messages import F32, U8

JOINTS = 17
GREY = 114  # around the image
PADDING = 1.25  # of a person's box, as in training
BINS_PER_PIXEL = 2
MEAN, DEVIATION = (
    np.array(values, np.float32) for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
)


class PersonNetwork:
    """Finds the boxes of people. Raises ConfigError for a model with other inputs or outputs."""

    def __init__(self, model: bytes, threads: int = 1, device: str = "cpu") -> None:
        self._session, self._input, (self._height, self._width) = _session(model, "person", threads, device)
        shapes = [output.shape for output in self._session.get_outputs()]
        if not shapes or len(shapes[0]) != 3 or shapes[0][-1] != 5:
            raise ConfigError(
                f"person: expected a model with an output of boxes (1, N, 5), got outputs {shapes}; use an "
                "export that suppresses overlapping boxes"
            )

    def find(self, image: U8, min_score: float) -> F32:
        """Boxes (N, 4) x0, y0, x1, y1 in px of an image (H, W, 3) RGB, the highest score first."""
        import cv2

        height, width = image.shape[:2]
        scale = min(self._height / height, self._width / width)
        inner = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))))
        padded = np.full((self._height, self._width, 3), GREY, np.uint8)
        padded[: inner.shape[0], : inner.shape[1]] = inner
        values = np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1)[None], np.float32)
        boxes, *labels = self._session.run(None, {self._input: values})
        found = np.asarray(boxes, np.float32)[0]
        is_person = found[:, 4] >= min_score
        if labels:
            is_person &= np.asarray(labels[0])[0] == 0
        found = found[is_person]
        found = found[np.argsort(-found[:, 4], kind="stable")]
        limits = np.array([width, height, width, height], np.float32)
        clipped: F32 = np.clip(found[:, :4] / np.float32(scale), 0, limits)
        return clipped[(clipped[:, 2] - clipped[:, 0] > 1) & (clipped[:, 3] - clipped[:, 1] > 1)]


class PoseNetwork:
    """Finds the keypoints of one person. Raises ConfigError for a model with other inputs or outputs."""

    def __init__(self, model: bytes, threads: int = 1, device: str = "cpu") -> None:
        self._session, self._input, (self._height, self._width) = _session(model, "pose", threads, device)
        shapes = [output.shape for output in self._session.get_outputs()]
        expected = [[JOINTS, BINS_PER_PIXEL * side] for side in (self._width, self._height)]
        if [list(shape[-2:]) for shape in shapes] != expected:
            raise ConfigError(
                f"pose: expected a model with outputs (1, {JOINTS}, {expected[0][1]}) and (1, {JOINTS}, "
                f"{expected[1][1]}), got {shapes}; models of the body have 17 keypoints"
            )

    def find(self, image: U8, box: F32) -> tuple[F32, F32]:
        """Keypoints (17, 2) px and scores (17,) of the person in a box x0, y0, x1, y1 px."""
        import cv2

        centre = (box[:2] + box[2:]) / 2
        side = (box[2:] - box[:2]) * PADDING
        # As wide or as high as needed for the shape of the input.
        width = max(side[0], side[1] * self._width / self._height)
        scale = self._width / float(width)
        shift = np.array([self._width, self._height], np.float32) / 2 - scale * centre
        to_input = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
        crop = cv2.warpAffine(image, to_input, (self._width, self._height), flags=cv2.INTER_LINEAR)
        values = ((crop.astype(np.float32) - MEAN) / DEVIATION).transpose(2, 0, 1)[None]
        x, y = (np.asarray(bins)[0] for bins in self._session.run(None, {self._input: values}))
        xy = np.stack([x.argmax(axis=1), y.argmax(axis=1)], axis=1).astype(np.float32) / BINS_PER_PIXEL
        score = np.minimum(x.max(axis=1), y.max(axis=1)).clip(0.0, 1.0).astype(np.float32)
        keypoints: F32 = ((xy - shift) / np.float32(scale)).astype(np.float32)
        return keypoints, score


def _session(model: bytes, name: str, threads: int, device: str) -> tuple[Any, str, tuple[int, int]]:
    """A session, the name of its input, and the input's height and width."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"the detector needs the package onnxruntime ({error}); pip install 'poselift[rtmpose]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise ConfigError(f"device: {device} needs the package onnxruntime-gpu and a CUDA device")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # its errors have no common class
        raise ConfigError(f"{name}: ONNX Runtime cannot use this model: {str(error)[:200]}") from None
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) for n in shape[2:]):
        raise ConfigError(
            f"{name}: expected a model with one input (1, 3, height, width), got {[i.shape for i in inputs]}"
        )
    return session, inputs[0].name, (shape[2], shape[3])
