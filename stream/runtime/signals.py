"""Signals of a command that runs until it is stopped: Ctrl-C and SIGTERM stop it, SIGHUP reads the config."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped_by_signals(stop: Callable[[], None], reload: Callable[[], None] | None = None) -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM call `stop` instead of ending the process at once.

    reload: called at SIGHUP; None leaves SIGHUP alone. The SIGHUP of a terminal that is closed calls `stop`.
    After `nohup` SIGHUP is ignored, as before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    handlers: dict[int, Callable[[], None]] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if reload is not None and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        had_terminal = has_terminal()
        handlers[signal.SIGHUP] = lambda: stop() if had_terminal and not has_terminal() else reload()

    def handle(number: int, frame: FrameType | None) -> None:
        handlers[number]()

    previous = {number: signal.signal(number, handle) for number in handlers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def has_terminal() -> bool:
    """Whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
