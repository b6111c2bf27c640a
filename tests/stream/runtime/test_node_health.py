"""One health report of several workers."""

from stream.health import Health
from stream.runtime.node_health import NodeHealth


def report(component: str, frames: int, *lift_ms: float) -> dict:
    health = Health()
    health.increment(component, "frames", frames)
    health.increment("lift", "frames", frames)
    health.set_state(component, "ok")
    if lift_ms:
        health.observe_ms("lift", *lift_ms)
    return health.report()


def test_the_node_reports_the_sums_of_all_workers():
    node = NodeHealth()
    node.update(1, report("cam0", 10, 1.0, 1.0, 1.0))
    node.update(2, report("cam1", 5, 5.0))
    assert node.report() == {
        "counters": {"cam0.frames": 10, "cam1.frames": 5, "lift.frames": 15},
        "states": {"cam0": {"state": "ok", "detail": ""}, "cam1": {"state": "ok", "detail": ""}},
        "stages_ms": {"lift": {"p50": 2.0, "p95": 5.0, "p99": 5.0, "n": 4}},
    }


def test_counters_do_not_go_down_when_a_worker_ends():
    node = NodeHealth()
    node.update(1, report("cam0", 10, 1.0))
    node.update(1, report("cam0", 20, 1.0))
    node.end(1)
    node.end(1)
    node.update(2, report("cam0", 3))
    merged = node.report()
    assert merged["counters"] == {"cam0.frames": 23, "lift.frames": 23}
    assert merged["stages_ms"] == {}


def test_poses_per_second_are_those_of_the_last_seconds_of_a_worker():
    node, second_ns = NodeHealth(), 1_000_000_000
    assert node.poses_per_s(1) == 0
    for second, poses in enumerate((0, 100, 200, 300, 400, 500, 500, 500)):
        health = Health()
        health.increment("lift", "poses", poses // 2)
        health.increment("cam0", "drop.lifter_behind", poses // 2)
        node.update(1, health.report(), second * second_ns)
    assert round(node.poses_per_s(1)) == 60
    node.end(1)
    assert node.poses_per_s(1) == 0
