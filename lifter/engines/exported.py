"""Networks exported to ONNX, computed by ONNX Runtime or OpenVINO."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from stream.errors import ConfigError
from stream.files.cache import cache_dir, write_atomically

log = logging.getLogger("poselift")

Network = Callable[[Tensor], Tensor]  # (B, F, J, C) float32 -> poses (B, F or 1, J, 3)


def exported(model: nn.Module, key: str) -> Path:
    """The network as ONNX for one window, in this user's cache; made once, which takes some seconds."""
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


def onnx_network(path: Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are shared
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    return one_at_a_time(lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]))


def openvino_network(path: Path, threads: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Network:
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
    return one_at_a_time(lambda x: torch.from_numpy(request.infer({0: x.numpy()})[0].copy()))


def one_at_a_time(network: Network) -> Network:
    """A network for any number of windows from one for a single window."""
    return lambda x: torch.cat([network(window) for window in x.contiguous().split(1)])
