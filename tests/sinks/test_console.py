import io

import pytest

from sinks.console import Console
from stream.clock import FakeClock
from stream.errors import ConfigError
from stream.protocols import ComponentContext, opened
from tests.examples import meta, pose, pose_frame


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed_lines(stream: io.StringIO, frames: int) -> list[str]:
    """The lines that the console prints of so many frames, 250 ms apart."""
    clock = FakeClock()
    with opened(Console(Console.Settings(), ComponentContext("console", clock=clock), stream)) as console:
        console.send(meta())
        for seq in range(frames):
            console.send(pose_frame(seq, persons=(pose("a"), pose("b", state="predicted"))))
            clock.advance(0.25)
    return stream.getvalue().splitlines()


def test_one_line_a_second_has_rate_age_and_persons():
    # All frames have the same capture time, so each is 250 ms older than the one before.
    assert printed_lines(io.StringIO(), 9) == [
        "cam0: 4.0 poses/s, age p50 645 ms, persons: a ok, b predicted",
        "cam0: 4.0 poses/s, age p50 1645 ms, persons: a ok, b predicted",
    ]


def test_a_terminal_shows_the_source_in_bold():
    lines = printed_lines(Terminal(), 5)
    assert lines == ["\x1b[1mcam0\x1b[0m: 4.0 poses/s, age p50 645 ms, persons: a ok, b predicted"]


def test_a_closed_terminal_is_an_error_in_plain_words():
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(ConfigError, match="the terminal cannot be written to: Broken pipe"):
        printed_lines(Closed(), 5)


def test_an_empty_scene_has_no_persons():
    clock, stream = FakeClock(), io.StringIO()
    console = Console(Console.Settings(every_s=2), ComponentContext("console", clock=clock), stream)
    for _ in range(2):
        console.send(pose_frame(persons=()))
        clock.advance(2)
    assert stream.getvalue() == "cam0: 0.5 poses/s, age p50 2020 ms, persons: none\n"


def test_an_interval_of_0_seconds_is_refused():
    with pytest.raises(ConfigError, match=r"console every_s: expected seconds above 0, got 0"):
        Console.Settings(every_s=0)
