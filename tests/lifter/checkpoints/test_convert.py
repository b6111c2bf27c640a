"""Released checkpoint files are converted to weights files, and no code in them runs."""

import os

import numpy as np
import pytest
import torch

import lifter
from lifter.checkpoints.convert import import_weights, read_checkpoint
from lifter.spec import LifterSpec, Schedule
from stream.errors import CheckpointError, ConfigError


@pytest.fixture
def released(oracle, tmp_path):
    """A MixSTE checkpoint as its authors save it, with an optimizer and a random state."""
    reference = oracle("mixste_small")
    path = tmp_path / "best_epoch.bin"
    content = {
        "epoch": 77,
        "lr": np.float64(1e-4),
        "random_state": np.random.RandomState(1),
        "optimizer": {"state": {0: {"step": 3, "avg": torch.ones(3)}}},
        "model_pos": {f"module.{key}": value for key, value in reference["state_dict"].items()},
    }
    torch.save(content, path)
    return reference, path


def test_a_released_checkpoint_becomes_a_weights_file(released, tmp_path):
    reference, path = released
    output = tmp_path / "imported.safetensors"
    spec = import_weights("mixste", path, output, **reference["config"])
    assert spec == LifterSpec(
        name="imported",
        frames=27,
        config={"width": 64, "depth": 8, "heads": 8, "mlp_ratio": 2},
        sha256=reference["sha256"],
        licence="of the authors of the checkpoint",
        trained_on="Human3.6M, by its authors",
    )
    runner = lifter.load(output, device="cpu", threads=1)
    assert runner.spec == spec
    with torch.inference_mode():
        poses = runner.model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)


def test_released_weights_can_be_imported_with_a_schedule(released, tmp_path):
    reference, path = released
    schedule = Schedule((13, 9), (0, 3))
    spec = import_weights("mixste", path, tmp_path / "h2ot.safetensors", schedule, **reference["config"])
    assert spec.schedule == schedule
    with torch.inference_mode():
        poses = lifter.load(tmp_path / "h2ot.safetensors", device="cpu").model(reference["inputs"]["x"])
    expected = reference["h2ot"]["variants"]["round"]["tri_at_index"]
    torch.testing.assert_close(poses, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["tpc_mixste", "tpc_mhformer"])
def test_seq2frame_models_return_the_centre_frame(oracle, tmp_path, name):
    reference = oracle(f"{name}_small")
    torch.save(reference["state_dict"], tmp_path / "x.pth")
    spec = import_weights(name, tmp_path / "x.pth", tmp_path / "x.safetensors", **reference["config"])
    assert (spec.output, spec.schedule.recoverer) == ("centre", "centre")
    with torch.inference_mode():
        poses = lifter.load(tmp_path / "x.safetensors", device="cpu").model(reference["inputs"]["x"])
    assert poses.shape == (2, 1, 17, 3)


def test_a_part_of_a_lifter_raises(tmp_path):
    with pytest.raises(ConfigError, match="a part of one"):
        import_weights("diffpose_gcn", tmp_path / "x", tmp_path / "y")


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("evil-was-here",)


def test_a_checkpoint_that_could_run_code_raises(released, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, options in (("new", {}), ("old", {"_use_new_zipfile_serialization": False})):
        torch.save({"model_pos": {}, "evil": Evil()}, name, **options)
        with pytest.raises(CheckpointError, match="which could run code"):
            read_checkpoint(name)
    assert not (tmp_path / "evil-was-here").exists()


def test_checkpoints_in_the_format_before_torch_1_6_load(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / "old.pth")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", b"\x80\x02}."])
def test_a_file_of_another_format_raises(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x.pth: expected"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_missing_file_raises(tmp_path):
    with pytest.raises(CheckpointError, match="got none"):
        read_checkpoint(tmp_path / "x.pth")
