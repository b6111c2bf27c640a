"""A tuning result is valid for the network, format, threads and machine it was measured with, only."""

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


def test_auto_takes_the_engine_measured_fastest_for_these_weights():
    ms = {"eager": 1.0, "onednn": 2.0}
    tuned.save_result(path(), tuned.TuneResult(engine="eager", ms=ms))
    assert tuned.load_result(path()) == tuned.TuneResult(engine="eager", ms=ms)
    assert Runner(model(), SPEC, "cpu", threads=1, engine="auto").engine == "eager"


def test_other_weights_schedules_formats_or_threads_have_other_results():
    shorter = msgspec.structs.replace(SPEC, schedule=Schedule((13, 7), (0, 1)))
    paths = {path(), path(seed=1), path(shorter), path(dtype=torch.bfloat16), path(threads=2)}
    assert len(paths) == 5


def test_without_a_result_auto_takes_the_default_engine(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert Runner(model(), SPEC, "cpu", threads=1, engine="auto").engine == "eager"
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert tuned.default_engine(CPU, torch.float32) == "onednn"
    assert tuned.default_engine(torch.device("cuda"), torch.float16) == "graphs"


def test_a_damaged_result_is_logged_and_ignored(caplog):
    path().parent.mkdir()
    path().write_text("{")
    assert tuned.load_result(path()) is None
    assert "run poselift bench --tune again" in caplog.text
