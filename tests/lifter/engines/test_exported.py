"""Pruned models exported to ONNX give the same poses at any batch size."""

import numpy as np
import onnxruntime
import pytest
import torch

from lifter.architectures.d3dp import D3DP
from lifter.architectures.diffpose import DiffPose
from lifter.architectures.mhformer import MHFormer
from lifter.architectures.mixste import MixSTE
from lifter.architectures.motionagformer import MotionAGFormer
from lifter.architectures.motionbert import MotionBERT
from lifter.spec import Schedule

TINY = {"frames": 27, "width": 16, "depth": 2, "heads": 2, "schedule": Schedule((13, 9), (0, 1))}
MODELS = {
    MixSTE: {},
    MHFormer: {"hidden": 16},
    MotionBERT: {"rep_width": 16},
    MotionAGFormer: {"rep_width": 16},
    D3DP: {"hypotheses": 2, "steps": 2, "flip": False},
    DiffPose: {"graph": {"width": 16, "layers": 1, "heads": 2}},
}


@pytest.mark.parametrize("arch", MODELS)
def test_an_exported_model_gives_the_same_poses(arch, tmp_path):
    torch.manual_seed(0)
    model = arch(**TINY, **MODELS[arch]).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.onnx.export(model, (torch.rand(2, *model.shape),), dynamo=True, dynamic_shapes=(batch,))
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    x = torch.rand(3, *model.shape)
    with torch.inference_mode():
        expected = model(x).numpy()
    (poses,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(poses, expected, atol=1e-5)
