"""Reads the config of a running node again after SIGHUP, and lets the node open and close sources.

The file is read in a thread of its own, since components may be imported meanwhile; the node changes between
two turns of its loop. A file with a mistake changes nothing.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from stream.config.difference import difference
from stream.config.load import Config
from stream.runtime.notify import Notifier

log = logging.getLogger("poselift")


class Reloadable(Protocol):
    """A node whose sources can change while it runs: a Pipeline or a Supervisor."""

    config: Config

    def change_sources(self, config: Config) -> None:
        """Open and close sources so that they are those of `config`.

        Raises PoseliftError, with nothing changed, when this is not possible.
        """
        ...


class Reloader:
    """Reloads the config of `node` on request; `turn` is called about once a second by the node's thread."""

    def __init__(self, node: Reloadable, load: Callable[[], Config], notifier: Notifier) -> None:
        self._node, self._load, self._notifier = node, load, notifier
        self._requested = False
        self._thread: threading.Thread | None = None
        self._result: Config | Exception | None = None

    def request(self) -> None:
        """Reload soon; for a signal handler."""
        self._requested = True

    def turn(self) -> None:
        """Begin to read the file when that was requested; apply it once it is read."""
        if self._thread is None and self._requested:
            self._requested = False
            self._notifier.reloading()
            self._thread = threading.Thread(target=self._read, name="reload", daemon=True)
            self._thread.start()
        elif self._thread is not None and not self._thread.is_alive():
            self._thread = None
            self._notifier.ready(self._apply())

    def _read(self) -> None:
        try:
            self._result = self._load()
        except Exception as error:
            self._result = error

    def _apply(self) -> str:
        """Change the node; the line that says what has changed."""
        result, self._result = self._result, None
        try:
            if not isinstance(result, Config):
                raise result or RuntimeError("the config was not read")
            change = difference(self._node.config, result)
            self._node.change_sources(result)
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            log.error("reload: nothing is changed: %s", text)
            return f"reload: nothing is changed: {text}"
        line = f"reload: {change}"
        log.info("%s", line)
        if change.fixed:
            log.warning(
                "reload: these settings stay as they are until a restart: %s", ", ".join(change.fixed)
            )
        return line
