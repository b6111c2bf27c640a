import msgspec

from stream.health import Health, health_line


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


def test_the_report_survives_a_round_trip_on_the_wire():
    health = Health()
    health.observe_ms("lift", 1.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(health.report())) == health.report()


def test_drops_of_a_component_are_added_up_over_all_reasons():
    health = Health()
    health.increment("cam0", "drop.late")
    health.increment("cam0", "drop.lifter_behind", 2)
    health.increment("cam01", "drop.late")
    health.increment("cam0", "frames", 9)
    assert health.dropped("cam0") == 3


def test_the_number_of_samples_is_bounded():
    health = Health()
    for ms in range(10_000):
        health.observe_ms("lift", ms)
    assert health.report()["stages_ms"]["lift"]["n"] == 512


def test_the_health_line_names_drops_and_the_components_that_are_not_ok():
    health = Health()
    health.increment("lift", "frames", 30)
    health.increment("lift", "poses", 28)
    health.increment("cam0", "drop.lifter_behind", 2)
    health.observe_ms("lift", 8.0)
    health.set_state("zeromq", "ok")
    health.set_state("cam0", "lost", "cable")
    assert health_line(health.report()) == (
        "30 frames, 28 poses | lift 8.0/8.0 ms | dropped 2 (cam0: lifter_behind) | cam0 lost: cable"
    )
