"""A subscriber for people: prints what arrives once a second, or every message as JSON, and records."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from sinks.jsonl import JSONL
from sinks.npz import NPZ
from stream.cli import output as terminal
from stream.client import Subscriber
from stream.errors import ConfigError
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, Sink, opened
from stream.runtime.service import stopped_by_signals
from stream.wire.codec import encode

_QUIET_S = 5.0  # after this long without a pose, say what might be wrong


class Tally:
    """What arrived since the last line."""

    def __init__(self) -> None:
        self.frames = 0
        self.persons = 0
        self.ages_ms: list[float] = []
        self.since_s = time.monotonic()

    def add(self, frame: PoseFrame, now_unix_ns: int) -> None:
        self.frames += 1
        self.persons = sum(person.state != "lost" for person in frame.persons)
        self.ages_ms.append(frame.age_ms(now_unix_ns))

    def line(self, now_s: float) -> str:
        rate_hz = self.frames / (now_s - self.since_s)
        p50, p95 = np.percentile(self.ages_ms, [50, 95])
        return f"{rate_hz:5.1f} poses/s | age p50 {p50:.1f} ms, p95 {p95:.1f} ms | persons {self.persons}"


def listen(
    endpoint: str, source: str | None, as_json: bool, record: Path | None, seconds: float | None, prefix: str
) -> None:
    """Listen to `endpoint` until a signal comes or `seconds` are over."""
    stop = threading.Event()
    lead = f"{prefix}  " if prefix else ""
    until_s = None if seconds is None else time.monotonic() + seconds

    def say(line: str) -> None:
        terminal.print_line(f"{lead}{line}")

    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(stop.set))
        recorder = stack.enter_context(opened(_recorder(record))) if record else None
        subscriber = stack.enter_context(Subscriber(endpoint, source=source))
        if not as_json:
            say(f"listening to {endpoint}")
        _loop(subscriber, recorder, as_json, say, lambda: stop.is_set() or _over(until_s))


def _loop(
    subscriber: Subscriber,
    recorder: Sink | None,
    as_json: bool,
    say: Callable[[str], None],
    done: Callable[[], bool],
) -> None:
    tally, heard_s = Tally(), time.monotonic()
    while not done():
        message = subscriber.read(0.1)
        now_s = time.monotonic()
        if message is not None and as_json:
            say(encode(message, "json").decode())
        if isinstance(message, PoseFrame):
            heard_s = now_s
            tally.add(message, time.time_ns())
            if recorder is not None:
                recorder.send(message)
        if now_s - tally.since_s >= 1.0:
            if tally.frames and not as_json:
                say(tally.line(now_s))
            tally = Tally()
        if now_s - heard_s > _QUIET_S and not as_json:
            say(f"no poses for {_QUIET_S:.0f} s: is a daemon running, and does its source see anybody?")
            heard_s = now_s


def _recorder(path: Path) -> Sink:
    context = ComponentContext("record")
    if path.suffix == ".jsonl":
        return JSONL(JSONL.Settings(path=str(path)), context)
    if path.suffix == ".npz":
        return NPZ(NPZ.Settings(path=str(path)), context)
    raise ConfigError(f"{path}: expected a recording ending in .jsonl or .npz")


def _over(until_s: float | None) -> bool:
    return until_s is not None and time.monotonic() >= until_s
