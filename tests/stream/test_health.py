import msgspec

from stream.health import Health


def test_the_report_holds_counters_states_and_percentiles():
    health = Health()
    health.increment("cam0", "frames", 3)
    health.set_state("cam0", "lost", "cable")
    for ms in range(1, 101):
        health.observe_ms("lift", ms)
    assert health.report() == {
        "counters": {"cam0.frames": 3},
        "states": {"cam0": {"state": "lost", "detail": "cable"}},
        "stages_ms": {"lift": {"p50": 50.5, "p95": 95.05, "p99": 99.01, "n": 100}},
    }


def test_the_report_can_be_written_to_the_wire():
    health = Health()
    health.observe_ms("lift", 1.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(health.report())) == health.report()


def test_drops_of_a_place_are_added_up_whatever_their_reason():
    health = Health()
    health.increment("cam0", "drop.late")
    health.increment("cam0", "drop.lifter_behind", 2)
    health.increment("cam01", "drop.late")
    health.increment("cam0", "frames", 9)
    assert health.dropped("cam0") == 3


def test_memory_stays_flat_however_long_it_runs():
    health = Health()
    for ms in range(10_000):
        health.observe_ms("lift", ms)
    assert health.report()["stages_ms"]["lift"]["n"] == 512
