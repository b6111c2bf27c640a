"""What computes a lifter's network: torch as it is, or whatever is faster on the machine at hand.

    eager     torch as it is
    onednn    torch, its linear layers by oneDNN: on processors of other makers than Intel, MKL's
              products, which torch takes otherwise, reach half of what those do
    compile   torch.compile; wants a C++ compiler and up to a minute before the first window
    onnx      ONNX Runtime, float32
    openvino  OpenVINO
    graphs    CUDA graphs around all from pixels to metres (lifter.cuda)

All give the same poses to within rounding. What is not torch takes one window at a time: windows are
independent, and a processor's caches hold one better than many.
"""

import logging
import shutil
from importlib.util import find_spec

import torch
from torch import nn

from lifter.engines.exported import Network, exported, one_at_a_time, onnx_network, openvino_network
from lifter.engines.onednn import onednn
from lifter.layers import Attention, CrossAttention, Mlp
from stream.errors import ConfigError

log = logging.getLogger("poselift")

ENGINES = ("eager", "onednn", "compile", "onnx", "openvino", "graphs")


def lower(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model with the products of its blocks in `dtype`; what adds up stays in float32.

    Embeddings, norms, the sum that runs through the blocks and the regression head keep their digits:
    in bfloat16 alone a keypoint at the edge of a wide image would be off by pixels.
    """
    if dtype != torch.float32:
        for part in model.modules():
            if isinstance(part, Attention | CrossAttention | Mlp):
                part.to(dtype)
    return model


def start(engine: str, model: nn.Module, key: str, dtype: torch.dtype, threads: int) -> Network:
    """The network ready to be called; `key` names the weights among exported files."""
    why_not = missing(engine, next(model.parameters()).device.type, dtype)
    if why_not:
        raise ConfigError(f"lifter.engine: {engine} {why_not}; try auto or eager")
    if engine == "onnx":
        return onnx_network(exported(model, key), threads)
    if engine == "openvino":
        return openvino_network(exported(model, key), threads, dtype, tuple(model.shape))  # type: ignore[arg-type]
    lower(model, dtype)
    if engine == "compile":
        return one_at_a_time(torch.compile(model, dynamic=False))  # another size would be compiled anew, live
    return onednn(model) if engine == "onednn" else model


def missing(engine: str, device: str, dtype: torch.dtype = torch.float32) -> str:
    """Why an engine cannot be used here, or nothing."""
    needed = {"onnx": ("onnxruntime", "onnxscript"), "openvino": ("openvino", "onnxscript")}.get(engine, ())
    lacking = [package for package in needed if find_spec(package) is None]
    if lacking:
        return f"needs {' and '.join(lacking)}: pip install 'poselift[{engine}]'"
    if engine in ("onednn", "onnx", "openvino") and device != "cpu":
        return f"computes on the CPU, and the lifter is on {device}"
    if engine == "graphs" and device != "cuda":
        return f"needs a CUDA device, and the lifter is on {device}"
    if engine == "onednn" and not (
        torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return "is not part of this build of torch"
    if engine == "onnx" and dtype != torch.float32:
        return "computes in float32 only"
    if engine == "compile" and device == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        return "needs a C++ compiler"
    return ""
