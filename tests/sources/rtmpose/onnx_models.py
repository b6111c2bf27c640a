"""Small ONNX models with the inputs and outputs of RTMPose's networks, that find coloured spots."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sources.rtmpose.networks import DEVIATION, MEAN
from stream.messages import F32, U8

PERSON_SIDE = 320
POSE_WH = (192, 256)
RED, GREEN, BLUE = range(3)


def person_model(boxes: list[tuple[float, ...]], labels: list[int]) -> bytes:
    """Gives these boxes (x0, y0, x1, y1, score) in px of the input, times the blue of its first pixel."""
    blue = [
        helper.make_node("Slice", ["input", "first", "last", "axes"], ["corner"]),
        helper.make_node("ReduceMax", ["corner"], ["level"], keepdims=0),
        helper.make_node("Mul", ["level", "scores"], ["weighted"]),
        helper.make_node("Add", ["boxes", "weighted"], ["dets"]),
        helper.make_node("Identity", ["kinds"], ["labels"]),
    ]
    values = np.array([boxes], np.float32)
    scores = np.zeros_like(values)
    scores[..., 4] = values[..., 4] / 255
    values[..., 4] = 0
    constants = {
        "first": np.array([0, 0, 0]),
        "last": np.array([1, 1, 1]),  # channel 0, row 0, column 0
        "axes": np.array([1, 2, 3]),
        "boxes": values,
        "scores": scores,
        "kinds": np.array([labels], np.int64),
    }
    outputs = [
        helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, len(boxes), 5]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, [1, len(boxes)]),
    ]
    return _model(blue, (PERSON_SIDE, PERSON_SIDE), outputs, constants)


def pose_model(joints: int = 17) -> bytes:
    """Puts joint j at the brightest red (j = 0, 3, ...), green (1, 4, ...) or blue (2, 5, ...) pixel."""
    width, height = POSE_WH
    colours = np.full((joints, 3), -0.5, np.float32)
    colours[np.arange(joints), np.arange(joints) % 3] = 1.0
    # The input is normalised: colour = input * deviation + mean.
    weights = colours * DEVIATION / 255
    bias = colours @ MEAN / 255
    nodes = [helper.make_node("Conv", ["input", "weights", "bias"], ["likeness"])]
    for name in ("x", "y"):
        nodes += [
            helper.make_node("ReduceMax", ["likeness", f"axis_{name}"], [f"line_{name}"], keepdims=0),
            helper.make_node(
                "Resize", [f"line_{name}", "", "scale"], [f"simcc_{name}"], mode="linear",
                coordinate_transformation_mode="asymmetric",
            ),
        ]  # fmt: skip
    constants = {
        "weights": weights[:, :, None, None].astype(np.float32),
        "bias": bias.astype(np.float32),
        "axis_x": np.array([2]),
        "axis_y": np.array([3]),
        "scale": np.array([1, 1, 2], np.float32),
    }
    outputs = [
        helper.make_tensor_value_info("simcc_x", TensorProto.FLOAT, [1, joints, 2 * width]),
        helper.make_tensor_value_info("simcc_y", TensorProto.FLOAT, [1, joints, 2 * height]),
    ]
    return _model(nodes, (height, width), outputs, constants)


def spots(size_wh: tuple[int, int], places: dict[tuple[int, int], int]) -> U8:
    """A black RGB image with a soft spot of pure red, green or blue at each place, and a blue corner."""
    width, height = size_wh
    y, x = np.mgrid[:height, :width]
    image: F32 = np.zeros((height, width, 3), np.float32)
    for (spot_x, spot_y), colour in places.items():
        distance2 = (x - spot_x) ** 2 + (y - spot_y) ** 2
        image[..., colour] = np.maximum(image[..., colour], 255 * np.exp(-distance2 / (2 * 8.0**2)))
    image[:12, :12] = (0, 0, 255)
    return image.round().astype(np.uint8)


def _model(
    nodes: list[onnx.NodeProto],
    input_hw: tuple[int, int],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray],
) -> bytes:
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *input_hw])]
    initializers = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()
