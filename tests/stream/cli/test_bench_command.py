"""`poselift bench` prints a table and one line of JSON."""

import json
from pathlib import Path

import pytest

from lifter import weights
from lifter.bench.candidates import Plan
from lifter.spec import LifterSpec, Schedule
from stream.cli.main import main

SPEC = LifterSpec(
    name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), config={"width": 16, "depth": 2, "heads": 2}
)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "cache"))
    weights.save(tmp_path / "tiny.safetensors", weights.build(SPEC), SPEC)
    return tmp_path / "tiny.safetensors"


def poselift(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0


def test_bench_prints_a_table_and_writes_the_json_to_the_output(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tiny.parent / "result.json"
    poselift("bench", tiny, "--quick", "--threads", 1, "--device", "cpu", "-o", output)
    *table, line = capsys.readouterr().out.splitlines()
    assert json.loads(line) == json.loads(output.read_text())
    assert table[0].startswith("tiny on ")
    assert [word for word in ("own, onednn float32", "unpruned, eager", "normalise", "people*")
            if not any(word in row for row in table)] == []  # fmt: skip


def test_tune_prints_the_engine_that_auto_uses_from_now_on(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lifter.engines.choose.missing", lambda engine, *rest: "" if engine == "eager" else "is not here"
    )
    poselift("bench", tiny, "--tune", "--quick", "--threads", 1, "--device", "cpu")
    *table, line = capsys.readouterr().out.splitlines()
    assert json.loads(line)["chosen"] == "eager"
    assert "openvino    is not here" in table
    assert table[-1] == "lifter.engine: auto uses eager for these weights on this machine from now on"


def test_with_json_no_table_is_printed(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []
    monkeypatch.setattr(
        "lifter.bench.benchmark.bench", lambda plan: (plans.append(plan), {"benchmark": "bench"})[1]
    )
    poselift("bench", "--arch", "mixste", "--json", "--threads", 1, "--engine", "eager", "--seconds", 2)
    assert json.loads(capsys.readouterr().out) == {"benchmark": "bench"}
    assert plans == [Plan(model="mixste", threads=1, engine="eager", seconds=2.0)]
