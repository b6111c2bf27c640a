"""A notice board of a running cluster: its newest report, and machines that are to be emptied.

`poselift cluster status` reads it and `poselift cluster drain` writes on it, from any machine of the cluster.
It is a small actor with a name, beside the supervisor, and ends with it.
"""

import time
from concurrent.futures import Future
from typing import Any

from stream.clock import SystemClock
from stream.cluster.connect import NAMESPACE, ray_module
from stream.errors import ConfigError
from stream.rate_limited_log import RateLimitedLog

_PREDECESSOR_S = 20.0  # Ray ends the board of a `cluster run` that was killed after some seconds


class BoardActor:
    """Keeps the notices; Ray makes it an actor."""

    def __init__(self) -> None:
        self._report: dict[str, Any] = {}
        self._leaving: set[str] = set()

    def exchange(self, report: dict[str, Any]) -> frozenset[str]:
        """Keep a report; returns ids of the machines to empty."""
        self._report = report
        return frozenset(self._leaving)

    def empty(self, node: str, leave: bool) -> None:
        """Empty a machine, or use it again."""
        (self._leaving.add if leave else self._leaving.discard)(node)

    def read(self) -> tuple[dict[str, Any], frozenset[str]]:
        return self._report, frozenset(self._leaving)


class Board:
    """The supervisor's side, which never waits. leaving: machines to empty, at the last exchange."""

    def __init__(self, node: str) -> None:
        ray = ray_module()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.leaving: frozenset[str] = frozenset()
        self._pending: Future[frozenset[str]] | None = None
        self._log = RateLimitedLog(SystemClock())
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        options = {"name": _name(node), "namespace": NAMESPACE, "num_cpus": 0, "scheduling_strategy": here}
        until_s = time.monotonic() + _PREDECESSOR_S
        while True:
            try:
                self._actor = ray.remote(BoardActor).options(**options).remote()
                return
            except ValueError:
                if time.monotonic() > until_s:
                    raise ConfigError(
                        f"cluster: a node called {node!r} runs on this cluster already; give this one "
                        "another name in `node`"
                    ) from None
                time.sleep(0.2)

    def exchange(self, report: dict[str, object]) -> None:
        """Publish a report, and take over what was written since the last call."""
        if self._pending is not None:
            if not self._pending.done():
                return
            try:
                self.leaving = self._pending.result()
            except Exception as error:  # Ray raises many types; without its board a cluster goes on
                self._log.warning("board", "cluster: status and drain do not work: %s", type(error).__name__)
        self._pending = self._actor.exchange.remote(report).future()


def board(node: str) -> Any:
    """The actor of a running cluster. Raises ConfigError without one."""
    ray = ray_module()
    try:
        return ray.get_actor(_name(node), namespace=NAMESPACE)
    except ValueError:
        raise ConfigError(
            f"no node called {node!r} runs on this cluster; `poselift cluster run` starts one"
        ) from None


def _name(node: str) -> str:
    return f"poselift-{node}"
