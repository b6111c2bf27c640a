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
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from lifter.layers import Attention, CrossAttention, Mlp
from stream.errors import ConfigError
from stream.folders import cache

log = logging.getLogger("poselift")

Network = Callable[[Tensor], Tensor]  # (B, F, J, C) float32 -> poses (B, F or 1, J, 3)
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
        return _onnx(exported(model, key), threads)
    if engine == "openvino":
        return _openvino(exported(model, key), threads, dtype, tuple(model.shape))  # type: ignore[arg-type]
    lower(model, dtype)
    if engine == "compile":
        return _each(torch.compile(model, dynamic=False))  # another size would be compiled anew, live
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


class _Linear(nn.Linear):
    """A linear layer by oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class _Attention(Attention):
    """Its linear layers are asked as a whole, or for some rows of their weights."""

    def _rows(self, x: Tensor, start: int, end: int) -> Tensor:
        bias = None if self.qkv.bias is None else self.qkv.bias[start:end]
        return torch.ops.mkldnn._linear_pointwise(x, self.qkv.weight[start:end], bias, "none", [], "")


class _Mlp(Mlp):
    """The exact GELU is taken while a product's tiles are still in the cache."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.fc1.weight.dtype)
        x = torch.ops.mkldnn._linear_pointwise(x, self.fc1.weight, self.fc1.bias, "gelu", [], "none")
        return self.fc2(x)


_BY_ONEDNN: dict[type, type] = {nn.Linear: _Linear, Attention: _Attention, Mlp: _Mlp}


def onednn(model: nn.Module) -> nn.Module:
    """The model itself, its linear layers and MLPs now computed by oneDNN; for inference only."""
    for part in model.modules():
        part.__class__ = _BY_ONEDNN.get(type(part), type(part))
    return model


def exported(model: nn.Module, key: str) -> Path:
    """The network as ONNX for one window, in this user's cache; made once, which takes some seconds."""
    path = cache() / "engines" / f"{key[:24]}.onnx"
    if path.is_file():
        return path
    log.info("exporting the lifter to %s", path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made beside it and moved: another process never reads half a file.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / "model.onnx"
            export(model, made)
            made.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error}); set POSELIFT_CACHE") from error
    return path


def export(model: nn.Module, path: Path) -> None:
    """Write the network to an ONNX file, in float32, for windows (1, F, J, C)."""
    shape: tuple[int, ...] = model.shape  # type: ignore[assignment]
    with _quiet("torch.onnx", "onnxscript", "onnx_ir"):
        program = torch.onnx.export(model, (torch.zeros(1, *shape),), dynamo=True, verbose=False)
    if program is None:
        raise ConfigError(f"{type(model).__name__} cannot be exported to ONNX; lifter.engine: try eager")
    program.save(path)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Whoever lifts has no use for hundreds of lines on an export's inner steps."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _onnx(path: Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are shared
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    return _each(lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]))


def _openvino(path: Path, threads: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Network:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([1, *shape])
    options = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # the detector may be busy on the core that it would be tied to
        "INFERENCE_PRECISION_HINT": {torch.bfloat16: "bf16", torch.float16: "f16"}.get(dtype, "f32"),
    }  # fmt: skip
    request = core.compile_model(model, "CPU", options).create_infer_request()

    # The request's output is overwritten by its next run.
    return _each(lambda x: torch.from_numpy(request.infer({0: x.numpy()})[0].copy()))


def _each(network: Network) -> Network:
    """A network for any number of windows from one for a single window."""
    return lambda x: torch.cat([network(window) for window in x.contiguous().split(1)])
