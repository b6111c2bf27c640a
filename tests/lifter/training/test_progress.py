"""The log of a training run, on a terminal and elsewhere."""

import csv
import sys
from pathlib import Path

import pytest
import torch

from lifter.training.progress import TrainingLog


def _log_two_steps(folder: Path, quiet: bool = False) -> None:
    log = TrainingLog(folder, log_steps=2, quiet=quiet)
    log.begin(0, 2)
    log.add_step(1, torch.tensor(2.0), 0.1)
    log.add_step(2, torch.tensor(1.0), 0.1)
    log.add_test(2, {"mpjpe": 50.0})
    log.end()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_writes_its_logs_and_a_plot(
    tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    _log_two_steps(tmp_path)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["loss"], row["lr"]) for row in rows] == [("2", "1.50000", "1.000e-01")]
    assert (tmp_path / "tests.csv").read_text() == "step,mpjpe\n2,50.000\n"
    assert (tmp_path / "curves.png").stat().st_size > 1000
    output = capsys.readouterr()
    assert "step 2/2  loss 1.5000" in (output.err if terminal else output.out)
    assert "step 2  mpjpe 50.0" in (output.err if terminal else output.out)


def test_a_quiet_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _log_two_steps(tmp_path, quiet=True)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_resumed_run_deletes_the_rows_of_steps_that_it_repeats(tmp_path: Path) -> None:
    first = TrainingLog(tmp_path, 10)
    first.begin(0, 40)
    for step in range(1, 31):
        first.add_step(step, torch.tensor(1.0), 0.1)
    first.add_test(20, {"mpjpe": 50.0})
    first.add_test(30, {"mpjpe": 40.0})
    second = TrainingLog(tmp_path, 10)
    second.begin(20, 40)
    for step in range(21, 41):
        second.add_step(step, torch.tensor(1.0), 0.1)
    second.add_test(30, {"mpjpe": 40.0})
    for name, steps in (("log.csv", ["10", "20", "30", "40"]), ("tests.csv", ["20", "30"])):
        head, *rows = (tmp_path / name).read_text().splitlines()
        assert head.startswith("step,")
        assert [row.split(",")[0] for row in rows] == steps
