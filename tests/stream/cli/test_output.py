import os
import sys

import pytest

from stream.cli.output import print_line
from stream.errors import PoseliftError


def test_a_line_is_out_at_once(capfd: pytest.CaptureFixture[str]):
    print_line("12 poses/s")
    assert capfd.readouterr().out == "12 poses/s\n"


def test_nobody_reading_any_more_is_no_mistake(monkeypatch: pytest.MonkeyPatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            print_line("12 poses/s")
    # Leaving `with` flushed what was left, as Python does at its end, and nothing was raised.
    assert ended.value.code == 0


def test_an_output_that_is_full_is_an_error_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(PoseliftError, match="the output cannot be written: No space left on device"):
            print_line("12 poses/s")
