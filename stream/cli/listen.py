"""`poselift listen`: receives poses, prints a summary every second or each message as JSON, and records."""

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
from stream.runtime.signals import stopped_by_signals
from stream.security import ClientKeys
from stream.wire.codec import encode

SUMMARY_INTERVAL_S = 1.0
SILENCE_HINT_S = 5.0  # print a hint after so long without a pose
READ_TIMEOUT_S = 0.1


class RateSummary:
    """Number, age and persons of the pose frames received since `start_s`, a monotonic time in seconds."""

    def __init__(self) -> None:
        self.frames = 0
        self.persons = 0
        self.ages_ms: list[float] = []
        self.start_s = time.monotonic()

    def add(self, frame: PoseFrame, now_unix_ns: int) -> None:
        """Count a frame received at `now_unix_ns`."""
        self.frames += 1
        self.persons = sum(person.state != "lost" for person in frame.persons)
        self.ages_ms.append(frame.age_ms(now_unix_ns))

    def line(self, now_s: float) -> str:
        """The summary as text; needs at least one frame."""
        rate_hz = self.frames / (now_s - self.start_s)
        p50, p95 = np.percentile(self.ages_ms, [50, 95])
        return f"{rate_hz:5.1f} poses/s | age p50 {p50:.1f} ms, p95 {p95:.1f} ms | persons {self.persons}"


def listen(
    endpoint: str,
    source: str | None,
    as_json: bool,
    output: Path | None,
    seconds: float | None,
    prefix: str,
    keys: ClientKeys | None = None,
) -> None:
    """Receive messages from `endpoint` until a signal or for `seconds`; `output` records the poses.

    keys: for a node with CURVE.
    """
    stop = threading.Event()
    indent = f"{prefix}  " if prefix else ""
    end_s = None if seconds is None else time.monotonic() + seconds

    def print_line(line: str) -> None:
        terminal.print_line(f"{indent}{line}")

    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(stop.set))
        recorder = stack.enter_context(opened(_recorder(output))) if output else None
        subscriber = stack.enter_context(Subscriber(endpoint, source=source, keys=keys))
        if not as_json:
            print_line(f"listening to {endpoint}")
        _receive(subscriber, recorder, as_json, print_line, lambda: stop.is_set() or _is_past(end_s))


def _receive(
    subscriber: Subscriber,
    recorder: Sink | None,
    as_json: bool,
    print_line: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    summary, last_pose_s = RateSummary(), time.monotonic()
    while not stopped():
        message = subscriber.read(READ_TIMEOUT_S)
        now_s = time.monotonic()
        if message is not None and as_json:
            print_line(encode(message, "json").decode())
        if isinstance(message, PoseFrame):
            last_pose_s = now_s
            summary.add(message, time.time_ns())
            if recorder is not None:
                recorder.send(message)
        if now_s - summary.start_s >= SUMMARY_INTERVAL_S:
            if summary.frames and not as_json:
                print_line(summary.line(now_s))
            summary = RateSummary()
        if now_s - last_pose_s > SILENCE_HINT_S and not as_json:
            print_line(
                f"no poses for {SILENCE_HINT_S:.0f} s: is `poselift run` running, "
                "and is a person in front of its camera?"
            )
            last_pose_s = now_s


def _recorder(path: Path) -> Sink:
    context = ComponentContext("record")
    if path.suffix == ".jsonl":
        return JSONL(JSONL.Settings(path=str(path)), context)
    if path.suffix == ".npz":
        return NPZ(NPZ.Settings(path=str(path)), context)
    raise ConfigError(f"{path}: expected a recording ending in .jsonl or .npz")


def _is_past(end_s: float | None) -> bool:
    return end_s is not None and time.monotonic() >= end_s
