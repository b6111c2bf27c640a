import io

import pytest

from sinks.console import Console
from stream.clock import FakeClock
from stream.errors import ConfigError
from stream.protocols import ComponentContext
from tests.examples import meta, pose, pose_frame


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(stream: io.StringIO, frames: int) -> list[str]:
    clock = FakeClock()
    with Console(Console.Settings(), ComponentContext("console", clock=clock), stream) as console:
        console.send(meta())
        for seq in range(frames):
            console.send(pose_frame(seq, persons=(pose("a"), pose("b", state="predicted"))))
            clock.advance(0.25)
    return stream.getvalue().splitlines()


def test_a_line_a_second_tells_rate_age_and_persons():
    # The wall clock moves and the captures do not, so each frame is 250 ms older than the one before.
    assert watched(io.StringIO(), 9) == [
        "cam0: 4.0 poses/s, age p50 645 ms, persons: a ok, b predicted",
        "cam0: 4.0 poses/s, age p50 1645 ms, persons: a ok, b predicted",
    ]


def test_a_terminal_gets_the_source_in_bold():
    lines = watched(Terminal(), 5)
    assert lines == ["\x1b[1mcam0\x1b[0m: 4.0 poses/s, age p50 645 ms, persons: a ok, b predicted"]


def test_a_terminal_that_is_gone_ends_the_console_in_a_sentence():
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(ConfigError, match="the terminal cannot be written to: Broken pipe"):
        watched(Gone(), 5)


def test_an_empty_scene_has_nobody():
    clock, stream = FakeClock(), io.StringIO()
    console = Console(Console.Settings(every_s=2), ComponentContext("console", clock=clock), stream)
    for _ in range(2):
        console.send(pose_frame(persons=()))
        clock.advance(2)
    assert stream.getvalue() == "cam0: 0.5 poses/s, age p50 2020 ms, persons: nobody\n"


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"console every_s: expected seconds above 0, got 0"):
        Console.Settings(every_s=0)
