"""The runner: poses of windows, options and errors."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.errors import ConfigError, ShapeError
from stream.messages import Window

CONFIG = {"width": 16, "depth": 2, "heads": 2}
SPEC = LifterSpec(name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), config=CONFIG)


def runner(**options):
    torch.manual_seed(0)
    spec = options.pop("spec", SPEC)
    return Runner(weights.build(spec), spec, device="cpu", threads=1, **options)


def window(seed=0, shape=(27, 17, 3), size_wh=(640, 480)):
    keypoints = np.random.default_rng(seed).uniform(0, 480, shape).astype(np.float32)
    frames = shape[0]
    return Window(keypoints, np.ones(frames, np.uint8), np.arange(frames), size_wh)


def test_poses_equal_the_model_output_for_normalised_keypoints():
    lift, windows = runner(), [window(0), window(1, size_wh=(1920, 1080))]
    poses = lift.lift(windows)
    assert (poses.shape, poses.dtype) == ((2, 27, 17, 3), np.float32)
    for pose, source in zip(poses, windows, strict=True):
        width, height = source.size_wh
        x = source.keypoints[None, ..., :2] / width * 2 - [1, height / width]
        with torch.inference_mode():
            output = lift.model(torch.from_numpy(x.astype(np.float32)))[0].numpy()
        np.testing.assert_allclose(pose, output - output[:, :1], atol=1e-5)


def test_a_large_batch_is_computed_in_parts(monkeypatch):
    lift, windows = runner(), [window(seed) for seed in range(5)]
    expected, parts = lift.lift(windows), []
    compute = lift.compute
    monkeypatch.setattr(
        lift, "compute", lambda keypoints, *rest: (parts.append(len(keypoints)), compute(keypoints, *rest))[1]
    )
    monkeypatch.setattr(lift, "max_windows", 2)
    np.testing.assert_allclose(lift.lift(windows), expected, atol=1e-6)
    assert parts == [2, 2, 1]


def test_the_same_windows_give_the_same_bits():
    lift = runner()
    assert (lift.lift([window()]) == lift.lift([window()])).all()


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_lower_precision_gives_nearly_the_same_poses(dtype, error):
    poses = runner(dtype=dtype).lift([window()])
    assert poses.dtype == np.float32
    np.testing.assert_allclose(poses, runner().lift([window()]), atol=error)


def test_a_centre_lifter_returns_the_middle_frame():
    sequence = runner(spec=LifterSpec(name="tiny", frames=27, config=CONFIG))
    centre = runner(spec=LifterSpec(name="tiny", frames=27, config=CONFIG, output="centre"))
    poses = centre.lift([window(0), window(1)])
    np.testing.assert_allclose(poses, sequence.lift([window(0), window(1)])[:, 13:14], atol=1e-6)


@pytest.mark.parametrize("normalise", ["screen", "person", "image"])
@pytest.mark.parametrize("last", [1, 4, 27])
def test_the_last_poses_equal_the_end_of_all_poses(normalise, last):
    spec = LifterSpec(
        name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), normalise=normalise, config=CONFIG
    )
    lift, windows = runner(spec=spec), [window(0), window(1, size_wh=(1920, 1080))]
    np.testing.assert_allclose(lift.lift(windows, last), lift.lift(windows)[:, -last:], atol=1e-5)


@pytest.mark.parametrize("last", [0, 28])
def test_last_must_lie_within_the_window(last):
    with pytest.raises(ShapeError, match=f"expected last from 1 to 27 poses, got {last}"):
        runner().lift([window()], last)


def test_warm_up_does_not_change_poses():
    lift = runner()
    before = lift.lift([window()])
    lift.warm_up()
    assert (lift.lift([window()]) == before).all()


def nan_window():
    keypoints = window().keypoints.copy()
    keypoints[3, 5, 1] = np.nan
    return Window(keypoints, np.ones(27, np.uint8), np.arange(27), (640, 480))


@pytest.mark.parametrize(
    ("windows", "complaint"),
    [
        ([], "at least one window, got none"),
        ([window(), window(shape=(26, 17, 3))], r"\(27, 17, 3\) for tiny, got \(26, 17, 3\) in window 1"),
        ([window(shape=(27, 16, 3))], r"got \(27, 16, 3\) in window 0"),
        ([window(), nan_window()], "in window 1 at frame 3, joint 5"),
        ([window(size_wh=(640, 0))], r"image size \(w, h\) px, got \(640, 0\) in window 0"),
    ],
)
def test_windows_of_another_shape_raise(windows, complaint):
    with pytest.raises(ShapeError, match=complaint):
        runner().lift(windows)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"dtype": "float64"},
            "lifter.dtype: expected one of float32, tf32, float16, bfloat16, got 'float64'",
        ),
        ({"device": "gpu"}, "lifter.device: expected auto, cpu, cuda or cuda:1, got 'gpu'"),
        ({"device": "cuda:99"}, "try auto"),
        ({"device": "meta"}, "got 'meta'; this machine has [0-9]+ CUDA devices"),
        ({"device": "xpu:7"}, "got 'xpu:7'; this machine has"),
        ({"threads": 0}, "lifter.threads"),
    ],
)
def test_unknown_options_raise(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Runner(weights.build(SPEC), SPEC, **options)


def test_an_unknown_normalisation_raises():
    spec = LifterSpec(name="tiny", frames=27, config=CONFIG, normalise="scren")
    with pytest.raises(ConfigError, match="normalise: expected"):
        runner(spec=spec).lift([window()])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_nearly_the_same_poses():
    torch.manual_seed(0)
    on_gpu = Runner(weights.build(SPEC), SPEC)
    assert on_gpu.device.type == "cuda"
    np.testing.assert_allclose(on_gpu.lift([window()]), runner().lift([window()]), atol=1e-4)
