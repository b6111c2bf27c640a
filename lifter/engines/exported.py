"""Networks exported to ONNX, computed by ONNX Runtime or OpenVINO."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lifter.layers import LiftingNetwork
from stream.errors import ConfigError
from stream.files.cache import cache_dir, write_atomically

log = logging.getLogger("poselift")

Network = Callable[[Tensor], Tensor]  # (B, F, J, C) float32 -> poses (B, F or 1, J, 3)


def export_once(model: LiftingNetwork, key: str) -> Path:
    """Path of the network as ONNX for one window, in this user's cache; the first export takes seconds.

    key: digest of the network (`lifter.engines.tuned.network_key`). Raises ConfigError if the file
    cannot be written.
    """
    path = cache_dir() / "engines" / f"{key[:24]}.onnx"
    if path.is_file():
        return path
    log.info("exporting the lifter to %s", path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            export(model, temporary)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error}); set POSELIFT_CACHE") from error
    return path


def export(model: LiftingNetwork, path: Path) -> None:
    """Write the network to an ONNX file, in float32, for windows (1, F, J, C)."""
    with _quiet("torch.onnx", "onnxscript", "onnx_ir"):
        program = torch.onnx.export(model, (torch.zeros(1, *model.shape),), dynamo=True, verbose=False)
    if program is None:
        raise ConfigError(f"{type(model).__name__} cannot be exported to ONNX; lifter.engine: try eager")
    program.save(path)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silence loggers and warnings: an export writes hundreds of lines about its inner steps."""
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


def onnx_network(path: Path, threads: int) -> Network:
    """The network of an ONNX file, computed by ONNX Runtime on `threads` CPU threads in float32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are shared
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    return one_at_a_time(lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]))


def openvino_network(path: Path, threads: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Network:
    """The network of an ONNX file for windows of shape (F, J, C), computed by OpenVINO on the CPU."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([1, *shape])
    options = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # a pinned core may be busy with the detector
        "INFERENCE_PRECISION_HINT": {torch.bfloat16: "bf16", torch.float16: "f16"}.get(dtype, "f32"),
    }  # fmt: skip
    request = core.compile_model(model, "CPU", options).create_infer_request()

    # The request's output is overwritten by its next run.
    return one_at_a_time(lambda x: torch.from_numpy(request.infer({0: x.numpy()})[0].copy()))


def one_at_a_time(network: Network) -> Network:
    """A network for any number of windows, from a network for a single window."""
    return lambda x: torch.cat([network(window) for window in torch.split(x.contiguous(), 1)])
