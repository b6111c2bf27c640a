"""Terminal output of the commands."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.cli.output import print_line, print_status, progress_bar
from stream.errors import PoseliftError


def test_a_line_is_printed_at_once(capfd: pytest.CaptureFixture[str]):
    print_line("12 poses/s")
    assert capfd.readouterr().out == "12 poses/s\n"


def test_a_closed_pipe_ends_the_command_without_an_error(monkeypatch: pytest.MonkeyPatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            print_line("12 poses/s")
    # Leaving `with` flushed the buffer, as Python does at exit, and raised no error.
    assert ended.value.code == 0


def test_a_full_disk_is_reported_as_an_error(monkeypatch: pytest.MonkeyPatch):
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(PoseliftError, match="the output cannot be written: No space left on device"):
            print_line("12 poses/s")


def test_a_node_goes_on_without_output_and_logs_that_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        for _ in range(3):
            print_status("12 poses/s")
    assert caplog.messages == [
        "the output cannot be written (No space left on device); the node goes on without"
    ]


@pytest.mark.parametrize("redirection", ["> /dev/full", "<&- >&-"])
def test_a_node_runs_to_its_end_without_output(redirection: str, tiny_weights: Path, tmp_path: Path):
    config = tmp_path / "walk.yaml"
    config.write_text(
        "sources: {walk: {type: synthetic, fps: 50, frames: 10}}\n"
        f"lifter: {{weights: {tiny_weights}}}\n"
        f"sinks: {{file: {{type: jsonl, path: {tmp_path}/poses.jsonl}}}}\n"
    )
    command = f"{sys.executable} -m stream.cli run {config} {redirection}"
    done = subprocess.run(command, shell=True, check=False, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert len((tmp_path / "poses.jsonl").read_text().splitlines()) > 5


def test_a_progress_bar_is_drawn_on_stderr_only(capfd: pytest.CaptureFixture[str]):
    with progress_bar("lifting") as report_progress:
        report_progress(3, 12)
        report_progress(12, 12)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "lifting" in captured.err
    assert "12/12" in captured.err


def test_log_lines_do_not_tear_a_progress_bar_apart():
    log = logging.getLogger("poselift")
    level = log.level
    with progress_bar("lifting"):
        assert log.getEffectiveLevel() == logging.WARNING
    assert log.level == level
