"""The machines of a Ray cluster, asked of its head in a thread, so that the supervisor never waits for it."""

import logging
import os
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from stream.clock import Clock
from stream.cluster.connect import nodes
from stream.errors import PoseliftError

log = logging.getLogger("poselift")

NEAR = "near"  # label of machines
_WARN_S = 5.0
_MAX_TURN_S = 2.0  # a longer turn, of a process that was held up, counts as this
_RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # Ray's setting, in the environment
_RECONNECT_S = 60.0  # its default
_PATIENCE = 0.5  # of the time after which Ray itself ends this process without a clear message


class MachineList:
    """Machines by id as of some seconds ago; `turn` about once a second from one thread.

    head_is_gone: the head has been silent for so long that calls to Ray may never return.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._executor: ThreadPoolExecutor | None = None
        self._pending: Future[list[dict[str, Any]]] | None = None
        self._turned_ns = 0
        self._silent_s = 0.0  # since the last answer
        self._is_silent = self.head_is_gone = False
        self._near: dict[str, str] = {}  # label of every machine that is up
        self._up_since_ns: dict[str, int] = {}
        self._limit_s = _PATIENCE * float(os.environ.get(_RECONNECT, _RECONNECT_S))

    def open(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="machines")
        self._turned_ns = self._clock.now_ns()

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = None

    def turn(self) -> None:
        """Take over the answer to the last question and ask again.

        Raises PoseliftError when the head has not answered for so long that Ray ends its processes.
        """
        if self._executor is None:
            return
        if self._pending is not None and self._pending.done():
            if self._pending.exception() is None:
                self.update(self._pending.result())
            self._pending = None
        if self._pending is None:
            self._pending = self._executor.submit(nodes)
        self._check_silence()

    def update(self, listed: list[dict[str, Any]]) -> None:
        """Take over what the head has answered."""
        now_ns, self._silent_s = self._clock.now_ns(), 0.0
        up = {machine["NodeID"]: machine for machine in listed if machine["Alive"]}
        self._near = {name: machine.get("Labels", {}).get(NEAR, "") for name, machine in up.items()}
        self._up_since_ns = {name: self._up_since_ns.get(name, now_ns) for name in up}

    def returned(self, near: str, machine: str, leaving: Collection[str], after_s: float) -> bool:
        """Whether a machine of the place `near` has been up for `after_s`, and `machine` is elsewhere.

        leaving: machines that do not count, because they are emptied.
        """
        if not near or self._near.get(machine, near) == near:
            return False
        before_ns = self._clock.now_ns() - after_s * 1e9
        return any(
            label == near and name not in leaving and self._up_since_ns[name] <= before_ns
            for name, label in self._near.items()
        )

    def _check_silence(self) -> None:
        now_ns = self._clock.now_ns()
        self._silent_s += min((now_ns - self._turned_ns) / 1e9, _MAX_TURN_S)
        self._turned_ns, silent_s = now_ns, self._silent_s
        if silent_s > self._limit_s:
            self.head_is_gone = True
            raise PoseliftError(
                f"cluster: Ray's head has not answered for {silent_s:.0f} s, and Ray soon ends its "
                "processes on all machines; start it and the other machines again (`poselift cluster up`)"
            )
        if silent_s > _WARN_S and not self._is_silent:
            log.warning("Ray's head does not answer; workers go on, and none can be started until it does")
        elif silent_s <= _WARN_S and self._is_silent:
            log.warning("Ray's head answers again")
        self._is_silent = silent_s > _WARN_S
