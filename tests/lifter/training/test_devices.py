"""Training on GPUs: the process group on a fake device, the rest on a real one."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lifter import weights
from lifter.bench import paper_table
from lifter.evaluation.score import ScoreSettings, score
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from lifter.training import dry_run as dry
from lifter.training import recipe, sources, train
from lifter.training.loop import Trainer

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
RECIPE = {
    "lifter": {
        "name": "tiny", "frames": 27, "in_channels": 3, "normalise": "person",
        "schedule": {"keep": [14, 9], "at": [0, 1]}, "config": {"width": 16, "depth": 2, "heads": 2},
    },
    "data": {"type": "motion", "file": "train.npz", "test_file": "test.npz"},
    "stages": [{"steps": 4, "batch": 8}],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Motion capture and the recipe of a tiny lifter."""
    dry.WRITERS["motion"](tmp_path, RECIPE["data"], 40)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def test_every_process_of_torchrun_takes_the_gpu_of_its_rank(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(str(device)))
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda *words, **named: calls.append((words, named))
    )
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *arguments: module)
    settings = recipe.load(folder / "tiny.yaml")
    source = sources.training_batches(settings, folder, 4)
    trainer = Trainer(train.initial_model(settings), settings, source, folder / "run")
    assert (trainer.rank, str(trainer.device)) == (3, "cuda:1")
    group = {"timeout": timedelta(hours=2), "device_id": torch.device("cuda:1")}
    assert calls == ["cuda:1", (("nccl",), group)]  # its own GPU first, so that the group opens no other


@pytest.mark.gpu
@needs_a_gpu
@pytest.mark.parametrize("precision", ["amp=false", "tf32=true", "amp=true"])
def test_a_run_on_a_gpu_trains_resumes_and_is_tested(folder: Path, precision: str) -> None:
    options = (f"out={folder / 'runs'}", precision)
    path = train.train(folder / "tiny.yaml", folder, options)
    values = weights.load(path)[0].state_dict().values()
    assert all(value.isfinite().all() for value in values)
    finished = path.read_bytes()
    assert (
        train.train(folder / "tiny.yaml", folder, options).read_bytes() == finished
    )  # nothing is left to train
    assert "mpjpe" in (path.parent / "table.txt").read_text()


@pytest.mark.gpu
@needs_a_gpu
def test_the_first_steps_on_a_gpu_change_the_weights_as_on_a_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu = train.train(folder / "tiny.yaml", folder, (f"out={folder / 'gpu'}",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = train.train(folder / "tiny.yaml", folder, (f"out={folder / 'cpu'}",))
    first, second = (weights.load(path)[0].state_dict() for path in (on_gpu, on_cpu))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-4, rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second GPU")
def test_two_gpus_share_the_work(folder: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "stream.cli", "train", str(folder / "tiny.yaml"), "--data", str(folder)]
    done = subprocess.run(
        [*command, "--set", f"out={folder / 'two'}"],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "two" / "tiny" / "tiny.safetensors").is_file()


@pytest.mark.gpu
@needs_a_gpu
@pytest.mark.parametrize("arch", ["mixste", "d3dp"])
def test_evaluation_on_a_gpu_gives_the_errors_of_the_cpu(folder: Path, arch: str) -> None:
    config = {"width": 16, "depth": 2, "heads": 2}
    if arch == "d3dp":
        config |= {"hypotheses": 2, "steps": 2}
    spec = LifterSpec(name=arch, arch=arch, frames=27, schedule=Schedule((13, 9), (0, 1)), config=config)
    torch.manual_seed(0)
    weights.save(folder / "random.safetensors", weights.build(spec), spec)
    combination = "mean" if arch == "mixste" else "jpma"
    gpu, cpu = (
        score(
            folder / "random.safetensors",
            folder / "test.npz",
            ScoreSettings(device=device, combination=combination),
        ).rows()["clips"]
        for device in ("cuda", "cpu")
    )
    assert gpu == pytest.approx(cpu, rel=1e-2)


@pytest.mark.gpu
@needs_a_gpu
def test_the_memory_of_training_is_measured_on_a_gpu() -> None:
    spec = LifterSpec(name="x", frames=27, config={"width": 64, "depth": 2, "heads": 2})
    memory_gb, step_s = paper_table.training_cost(Runner(weights.build(spec), spec, "cuda"), 2)
    assert memory_gb is not None
    assert 0 < memory_gb < 10
    assert np.isfinite(step_s)
    assert step_s > 0
