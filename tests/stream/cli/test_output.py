"""Terminal output of the commands."""

import logging
import os
import sys

import pytest

from stream.cli.output import print_line, progress_bar
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
