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


def test_a_full_report_keeps_the_counters_of_components_with_a_state():
    health = Health()
    for number in range(2000):
        health.increment(f"gone{number}", "frames")
    health.increment("cam0", "frames", 7)
    health.set_state("cam0", "ok")
    counters = health.report()["counters"]
    assert counters["cam0.frames"] == 7
    assert sum(counters.values()) == 2007
    assert counters["others.frames"] > 500


def test_a_merged_component_hands_its_counters_and_drops_over():
    health = Health()
    health.increment("cam0", "drop.late", 2)
    health.increment("cam7", "drop.late", 3)
    health.increment("cam7", "frames", 4)
    health.set_state("cam7", "ok")
    health.merge("cam7", "cam0")
    assert health.report()["counters"] == {"cam0.drop.late": 5, "cam0.frames": 4}
    assert (health.dropped("cam0"), health.dropped("cam7")) == (5, 0)
    assert health.report()["states"] == {}
