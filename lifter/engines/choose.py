"""Engines: what computes a lifter's network.

    eager     torch without changes
    onednn    torch with linear layers by oneDNN: on AMD processors, MKL, torch's default, reaches half
              of its speed
    compile   torch.compile; needs a C++ compiler and up to a minute before the first window
    onnx      ONNX Runtime, float32
    openvino  OpenVINO
    graphs    CUDA graphs from pixels to metres (`lifter.engines.cuda_graphs`)

All give the same poses to within rounding. compile, onnx and openvino take one window at a time:
windows are independent, and one window fits a processor's caches better than many.
"""

import shutil
from importlib.util import find_spec

import torch
from torch import nn

from lifter.engines.exported import Network, export_once, one_at_a_time, onnx_network, openvino_network
from lifter.engines.onednn import onednn
from lifter.layers import Attention, CrossAttention, LiftingNetwork, Mlp
from stream.errors import ConfigError

ENGINES = ("eager", "onednn", "compile", "onnx", "openvino", "graphs")


def cast_blocks(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model itself, with the matrix products of its blocks in `dtype`.

    Embeddings, norms, the residual sum through the blocks and the regression head stay in float32: with
    bfloat16 everywhere, a keypoint at the edge of a wide image would be off by pixels.
    """
    if dtype != torch.float32:
        for module in model.modules():
            if isinstance(module, Attention | CrossAttention | Mlp):
                module.to(dtype)
    return model


def start(engine: str, model: LiftingNetwork, key: str, dtype: torch.dtype, threads: int) -> Network:
    """The network ready to be called with x (B, F, J, C).

    key: digest of the network (`lifter.engines.tuned.network_key`), which names its exported file.
    Raises ConfigError if this machine cannot run the engine.
    """
    why_not = why_unavailable(engine, next(model.parameters()).device.type, dtype)
    if why_not:
        raise ConfigError(f"lifter.engine: {engine} {why_not}; try auto or eager")
    if engine == "onnx":
        return onnx_network(export_once(model, key), threads)
    if engine == "openvino":
        return openvino_network(export_once(model, key), threads, dtype, model.shape)
    cast_blocks(model, dtype)
    if engine == "compile":
        if next(model.parameters()).device.type == "cuda":  # a GPU needs batches of windows
            return torch.compile(model, dynamic=True)
        # One batch size, so that no other size is compiled while the pipeline runs.
        return one_at_a_time(torch.compile(model, dynamic=False))
    return onednn(model) if engine == "onednn" else model


def why_unavailable(engine: str, device: str, dtype: torch.dtype = torch.float32) -> str:
    """Why this machine cannot run an engine on a device of type `device`; "" if it can."""
    packages: tuple[str, ...] = {
        "onnx": ("onnxruntime", "onnxscript"),
        "openvino": ("openvino", "onnxscript"),
    }.get(engine, ())
    if engine == "compile" and device == "cuda":
        packages = ("triton",)
    missing = [package for package in packages if find_spec(package) is None]
    if missing == ["triton"]:
        return "needs triton: pip install triton"
    if missing:
        return f"needs {' and '.join(missing)}: pip install 'poselift[{engine}]'"
    if engine in ("onednn", "onnx", "openvino") and device != "cpu":
        return f"computes on the CPU, and the lifter is on {device}"
    if engine == "graphs" and device != "cuda":
        return f"needs a CUDA device, and the lifter is on {device}"
    if engine == "onednn" and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return "is not part of this build of torch"
    if engine == "onnx" and dtype != torch.float32:
        return "computes in float32 only"
    if engine == "compile" and device == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        return "needs a C++ compiler"
    return ""
