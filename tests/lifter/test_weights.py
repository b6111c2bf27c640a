"""Weights files: saved weights load unchanged, and errors name what does not fit."""

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

import lifter
from lifter import weights
from lifter.spec import LifterSpec, Schedule
from stream.errors import CheckpointError, ConfigError

SPEC = LifterSpec(
    name="tiny",
    frames=27,
    schedule=Schedule((13, 9), (0, 1)),
    config={"width": 16, "depth": 2, "heads": 2},
    licence="Apache-2.0",
    trained_on="nothing",
)


@pytest.fixture
def tiny(tmp_path):
    """A saved model and its file."""
    torch.manual_seed(0)
    model, path = weights.build(SPEC), tmp_path / "tiny.safetensors"
    return model, path, weights.save(path, model, SPEC)


def test_loaded_weights_and_spec_equal_the_saved_ones(tiny):
    model, path, spec = tiny
    loaded, read = weights.load(path)
    assert read == spec == msgspec.structs.replace(SPEC, sha256=weights.digest(model.state_dict()))
    assert {k: v.tolist() for k, v in loaded.state_dict().items()} == {
        k: v.tolist() for k, v in model.state_dict().items()
    }
    assert not loaded.training
    assert [file.name for file in path.parent.iterdir()] == ["tiny.safetensors"]


def test_weights_can_be_stored_in_float16(tiny, tmp_path):
    model, path, spec = tiny
    half = tmp_path / "half.safetensors"
    assert weights.save(half, model, SPEC, torch.float16).sha256 != spec.sha256
    assert half.stat().st_size < 0.6 * path.stat().st_size
    loaded, _ = weights.load(half)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name].half().float(), atol=0, rtol=0)


def test_the_digest_covers_names_and_bytes(oracle):
    reference = oracle("mixste_small")
    assert weights.digest(reference["state_dict"]) == reference["sha256"]


def rewrite(path, change=None, **fields):
    """Write the file again with other tensors or another spec, and a valid digest."""
    tensors, spec = load_file(path), weights.read_spec(path)
    if change is not None:
        change(tensors)
    spec = msgspec.structs.replace(spec, sha256=weights.digest(tensors), **fields)
    save_file(tensors, path, metadata={"poselift.spec": msgspec.json.encode(spec).decode()})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.pop("head.1.bias"), r"head.1.bias \(3,\) is missing"),
        (lambda t: t.update(extra=torch.ones(2)), r"extra \(2,\) is unexpected"),
        (
            lambda t: t.update({"head.1.bias": torch.ones(4)}),
            r"head.1.bias should be \(3,\) and is \(4,\)",
        ),
    ],
)
def test_errors_name_the_first_differing_weights(tiny, change, complaint):
    rewrite(tiny[1], change)
    with pytest.raises(CheckpointError, match=complaint):
        weights.load(tiny[1])


def test_weights_of_another_window_length_raise(tiny):
    rewrite(tiny[1], frames=81)
    with pytest.raises(
        CheckpointError, match=r"Temporal_pos_embed should be \(1, 81, 16\) and is \(1, 27, 16\)"
    ):
        weights.load(tiny[1])


def test_a_long_list_of_differences_is_shortened(tiny):
    rewrite(tiny[1], lambda tensors: tensors.clear())
    with pytest.raises(CheckpointError, match="and 57 more"):
        weights.load(tiny[1])


def test_a_changed_file_raises(tiny):
    _, path, _ = tiny
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="changed or damaged"):
        weights.load(path)


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 64, b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_file_of_another_format_raises(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"x.safetensors: expected (a .safetensors file|weights written)"
    ):
        weights.load(path)


def test_a_truncated_file_raises(tiny):
    _, path, _ = tiny
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"expected a .safetensors file, got"):
        weights.load(path)


def test_a_folder_that_does_not_exist_raises(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere/x.safetensors: the weights cannot be written: "):
        weights.save(tmp_path / "nowhere" / "x.safetensors", tiny[0], SPEC)


def test_a_missing_file_raises(tmp_path):
    with pytest.raises(CheckpointError, match="got none"):
        weights.load(tmp_path / "x.safetensors")


def test_foreign_safetensors_raise_and_name_import_weights(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="import-weights"):
        weights.load(tmp_path / "x.safetensors")


def test_a_spec_of_a_later_version_raises(tmp_path):
    save_file(
        {"a": torch.ones(2)}, tmp_path / "x.safetensors", metadata={"poselift.spec": '{"name":"x","new":1}'}
    )
    with pytest.raises(CheckpointError, match="unknown field `new`"):
        weights.load(tmp_path / "x.safetensors")


def test_an_unknown_architecture_raises():
    with pytest.raises(ConfigError, match=r"lifter.arch: expected one of mixste, .*got 'mixtse'"):
        weights.build(msgspec.structs.replace(SPEC, arch="mixtse"))


def test_unknown_settings_of_an_architecture_raise():
    with pytest.raises(ConfigError, match="unexpected keyword argument 'wdith'"):
        weights.build(msgspec.structs.replace(SPEC, config={"wdith": 16}))


def test_packaged_weights_are_found_by_name(tiny, monkeypatch):
    _, path, spec = tiny
    monkeypatch.setattr(lifter, "MODELS", path.parent)
    assert lifter.models() == [spec]
    assert lifter.load("tiny").spec == lifter.load(path).spec == spec
    with pytest.raises(ConfigError, match=r"a packaged name \(tiny\), got tinny"):
        lifter.load("tinny")


def test_other_users_can_read_a_weights_file(tmp_path):
    spec = LifterSpec(name="tiny", frames=9, config={"width": 16, "depth": 1, "heads": 2})
    weights.save(tmp_path / "tiny.safetensors", weights.build(spec), spec)
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "tiny.safetensors").stat().st_mode == plain.stat().st_mode
