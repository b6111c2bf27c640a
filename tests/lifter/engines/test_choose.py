"""Engines: all of them give the poses of eager."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lifter import weights
from lifter.engines import choose as engines
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.errors import ConfigError
from stream.messages import Window

TINY = {"width": 16, "depth": 2, "heads": 2}
SPEC = LifterSpec(name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), config=TINY)
ARCHS = {
    "mixste": {},
    "mhformer": {"hidden": 16},
    "motionbert": {"rep_width": 16},
    "motionagformer": {"rep_width": 16},
    "d3dp": {"hypotheses": 2, "steps": 2, "flip": False},
    "diffpose": {"graph": {"width": 16, "layers": 1, "heads": 2}},
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path))


def network(arch):
    torch.manual_seed(0)
    spec = LifterSpec(
        name=arch, arch=arch, frames=27, in_channels=2, schedule=SPEC.schedule, config=TINY | ARCHS[arch]
    )
    return weights.build(spec)


def windows(number, spec=SPEC):
    batch = np.random.default_rng(0).uniform(0, 480, (number, spec.frames, 17, 3)).astype(np.float32)
    frames = np.arange(spec.frames)
    return [Window(keypoints, np.ones(spec.frames, np.uint8), frames, (640, 480)) for keypoints in batch]


def runner(**options):
    torch.manual_seed(0)
    return Runner(weights.build(SPEC), SPEC, device="cpu", threads=1, **options)


@pytest.mark.parametrize("engine", ["onednn", "onnx", "openvino"])
def test_every_engine_gives_the_poses_of_eager_for_any_number_of_windows(engine):
    if engine == "openvino":
        pytest.importorskip("openvino", reason="installed by scripts/test")
    expected, lift = runner(), runner(engine=engine)
    assert lift.engine == engine
    for number in (1, 3):
        np.testing.assert_allclose(lift.lift(windows(number)), expected.lift(windows(number)), atol=2e-6)


def test_compile_computes_one_window_at_a_time(monkeypatch):
    batches = []

    def compiled(model, dynamic):
        assert dynamic is False
        return lambda x: (batches.append(len(x)), model(x))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(engines.shutil, "which", lambda name: name)
    poses = runner(engine="compile").lift(windows(3))
    assert batches == [1, 1, 1]
    np.testing.assert_allclose(poses, runner().lift(windows(3)), atol=1e-6)


@pytest.mark.parametrize("arch", ARCHS)
def test_onednn_computes_all_architectures(arch):
    model = network(arch)
    x = torch.rand(2, *model.shape)
    with torch.inference_mode():
        expected = model(x)
        changed = engines.onednn(copy.deepcopy(model))
        torch.testing.assert_close(changed(x), expected, atol=1e-5, rtol=1e-4)
    assert not [module for module in changed.modules() if type(module) is nn.Linear]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)])
def test_lower_precision_keeps_norms_and_embeddings_in_float32(arch, dtype, error):
    model = network(arch)
    x = torch.rand(2, *model.shape)
    with torch.inference_mode():
        expected = model(x)
        poses = engines.cast_blocks(model, dtype)(x)
    assert poses.dtype == torch.float32
    torch.testing.assert_close(poses, expected, atol=error, rtol=0)
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert {kind for name, kind in dtypes.items() if "mlp" in name and ".fc" in name} == {dtype}
    assert {kind for name, kind in dtypes.items() if "norm" in name or "embed" in name} == {torch.float32}


def test_a_network_is_exported_once_per_digest(monkeypatch):
    exports = []
    monkeypatch.setattr(
        "lifter.engines.exported.export", lambda model, path: (exports.append(model), path.write_bytes(b"x"))
    )
    assert engines.export_once("a", "1" * 64) == engines.export_once("a", "1" * 64)
    engines.export_once("b", "2" * 64)
    assert exports == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"engine": "tensorrt"}, "lifter.engine: expected one of auto, eager, onednn, compile, .*'tensorrt'"),
        ({"engine": "graphs"}, "graphs needs a CUDA device, and the lifter is on cpu; try auto or eager"),
        ({"engine": "onnx", "dtype": "bfloat16"}, "onnx computes in float32 only"),
    ],
)
def test_an_engine_that_is_not_available_raises(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        runner(**options)


def test_a_missing_package_is_named_with_its_install_command(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"needs openvino and onnxscript: pip install 'poselift\[openvino\]'"
    ):
        runner(engine="openvino")
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="compile needs a C\\+\\+ compiler"):
        runner(engine="compile")
