"""The fastest engine is remembered for what it was measured with, and for nothing else."""

import msgspec
import pytest
import torch

from lifter import weights
from lifter.engines import tuned
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule

SPEC = LifterSpec(
    name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), config={"width": 16, "depth": 2, "heads": 2}
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path))


def model(spec=SPEC, seed=0):
    torch.manual_seed(seed)
    return weights.build(spec)


def path(spec=SPEC, seed=0, dtype=torch.float32, threads=1):
    return tuned.tuned_path(tuned.network_key(model(spec, seed), spec), CPU, dtype, threads)


def test_auto_takes_the_engine_remembered_for_these_weights():
    made = {"eager": 1.0, "onednn": 2.0}
    tuned.remember(path(), tuned.Tuned(engine="eager", ms=made))
    assert tuned.recall(path()) == tuned.Tuned(engine="eager", ms=made)
    assert Runner(model(), SPEC, "cpu", threads=1, engine="auto").engine == "eager"


def test_nothing_is_remembered_for_other_weights_schedules_formats_or_threads():
    shorter = msgspec.structs.replace(SPEC, schedule=Schedule((13, 7), (0, 1)))
    paths = {path(), path(seed=1), path(shorter), path(dtype=torch.bfloat16), path(threads=2)}
    assert len(paths) == 5


def test_without_a_memory_auto_goes_by_rule(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert Runner(model(), SPEC, "cpu", threads=1, engine="auto").engine == "eager"
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert tuned.by_rule(CPU, torch.float32) == "onednn"
    assert tuned.by_rule(torch.device("cuda"), torch.float16) == "graphs"


def test_a_damaged_memory_is_said_and_passed_over(caplog):
    path().parent.mkdir()
    path().write_text("{")
    assert tuned.recall(path()) is None
    assert "run poselift bench --tune again" in caplog.text
