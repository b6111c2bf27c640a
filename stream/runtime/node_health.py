"""Health of a node of several workers: one report, as if it were one process."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from stream.health import Health

Report = dict[str, Any]
_RATE_NS = 5_000_000_000  # over which poses per second are counted


class NodeHealth(Health):
    """Health of the supervisor, whose report includes the newest reports of all workers.

    Counters of ended workers stay in the sums.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reports: dict[int, Report] = {}
        self._ended_counters: dict[str, int] = {}
        self._poses: dict[int, deque[tuple[int, int]]] = {}  # by worker: times and counts of some seconds

    def update(self, worker: int, report: Report, now_ns: int = 0) -> None:
        """Keep the newest report of a worker, made by `Health.report`, which arrived at `now_ns`."""
        poses = self._poses.setdefault(worker, deque())
        poses.append((now_ns, _poses(report["counters"])))
        while now_ns - poses[0][0] > _RATE_NS:
            poses.popleft()
        self._reports[worker] = report

    def poses_per_s(self, worker: int) -> float:
        """Poses per second during the last seconds of a worker's reports; 0 before the second one.

        Frames dropped because the lifter was behind count as poses: they are load too.
        """
        poses = self._poses.get(worker)
        if not poses or poses[-1][0] == poses[0][0]:
            return 0.0
        return (poses[-1][1] - poses[0][1]) / (poses[-1][0] - poses[0][0]) * 1e9

    def end(self, worker: int) -> None:
        """Keep the counters of an ended worker and forget its states and times."""
        report = self._reports.pop(worker, None)
        self._poses.pop(worker, None)
        if report is not None:
            self._ended_counters = sum_counters([self._ended_counters, report["counters"]])

    def report(self) -> Report:
        """The node's report: that of the supervisor with those of all workers; for any thread."""
        reports = [*self._reports.copy().values(), super().report()]
        return {
            "counters": sum_counters([self._ended_counters, *(report["counters"] for report in reports)]),
            "states": {name: state for report in reports for name, state in report["states"].items()},
            "stages_ms": _merge_stages([report["stages_ms"] for report in reports]),
        }


def _poses(counters: dict[str, int]) -> int:
    dropped = (count for name, count in counters.items() if name.endswith(".drop.lifter_behind"))
    return counters.get("lift.poses", 0) + sum(dropped)


def sum_counters(counters: Iterable[dict[str, int]]) -> dict[str, int]:
    """Sums by name."""
    total: dict[str, int] = {}
    for counts in counters:
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total


def _merge_stages(stages: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """p50: mean over the workers, weighted by samples; p95 and p99: of the slowest worker, an upper bound."""
    merged = {}
    for stage in dict.fromkeys(name for report in stages for name in report):
        parts = [report[stage] for report in stages if stage in report]
        samples = sum(part["n"] for part in parts)
        merged[stage] = {
            "p50": round(sum(part["p50"] * part["n"] for part in parts) / samples, 3),
            "p95": max(part["p95"] for part in parts),
            "p99": max(part["p99"] for part in parts),
            "n": samples,
        }
    return merged
