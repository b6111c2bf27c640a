"""Console sink: one line per source and second with the rate, the age and the persons of its poses."""

import sys
from typing import TextIO

import msgspec
import numpy as np

from stream.errors import ConfigError
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext


class Console:
    """Prints, for each source, a summary of the poses since its last line; bold names on a terminal only."""

    endpoint = ""
    close_timeout_s = 0.0

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """every_s: seconds between two lines of a source."""

        every_s: float = 1.0

        def __post_init__(self) -> None:
            if not self.every_s > 0:
                raise ConfigError(f"console every_s: expected seconds above 0, got {self.every_s}")

    def __init__(self, settings: Settings, context: ComponentContext, stream: TextIO | None = None) -> None:
        self._every_ns = round(settings.every_s * 1e9)
        self._clock = context.clock
        self._stream = sys.stdout if stream is None else stream
        self._since_ns: dict[str, int] = {}
        self._ages_ms: dict[str, list[float]] = {}

    def open(self) -> None:
        """Do nothing: the terminal is open."""

    def close(self) -> None:
        """Do nothing: every line has been flushed."""

    def send(self, message: Message) -> None:
        """Count a pose frame and print the line of its source when it is time."""
        if not isinstance(message, PoseFrame):
            return
        source, now_ns = message.header.source, self._clock.now_ns()
        if source not in self._since_ns:  # The first frame starts the interval and is not counted in it.
            self._since_ns[source], self._ages_ms[source] = now_ns, []
            return
        ages_ms, elapsed_ns = self._ages_ms[source], now_ns - self._since_ns[source]
        ages_ms.append(message.age_ms(self._clock.unix_ns()))
        if elapsed_ns >= self._every_ns:
            self._print(message, ages_ms, elapsed_ns / 1e9)
            self._since_ns[source] = now_ns
            ages_ms.clear()

    def _print(self, newest: PoseFrame, ages_ms: list[float], elapsed_s: float) -> None:
        source = newest.header.source
        if self._stream.isatty():
            source = f"\x1b[1m{source}\x1b[0m"
        rate_hz, age_ms = len(ages_ms) / elapsed_s, np.median(ages_ms)
        persons = ", ".join(f"{person.id} {person.state}" for person in newest.persons) or "none"
        line = f"{source}: {rate_hz:.1f} poses/s, age p50 {age_ms:.0f} ms, persons: {persons}"
        try:
            print(line, file=self._stream, flush=True)
        except OSError as error:
            raise ConfigError(f"the terminal cannot be written to: {error.strerror}") from None
