"""Schedules and specs validate their fields."""

import msgspec
import pytest

from lifter.spec import LifterSpec, Schedule, frames_in_blocks
from stream.errors import ConfigError


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"keep": (), "at": ()}, "at least one"),
        ({"keep": (81,), "at": (0, 3)}, "as many"),
        ({"keep": (81, 121), "at": (0, 3)}, r"falling frame counts such as \(121, 81\), got \(81, 121\)"),
        ({"keep": (81, 81), "at": (0, 3)}, "falling"),
        ({"keep": (0,), "at": (0,)}, "falling"),
        ({"keep": (121, 81), "at": (3, 3)}, "rising"),
        ({"keep": (81,), "at": (-1,)}, "rising"),
        ({"pruner": "tsp"}, "schedule.pruner: expected one of tps, tpc, tpa, tpmo, got 'tsp'"),
        (
            {"recoverer": "tra2"},
            "schedule.recoverer: expected one of tri, tri-tokens, tra, centre, none, got 'tra2'",
        ),
    ],
)
def test_an_invalid_schedule_raises(fields, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Schedule(**fields)


def test_schedules_from_lists_and_tuples_are_equal():
    assert Schedule([121, 81], [0, 3]) == Schedule()
    assert hash(Schedule([121, 81], [0, 3])) == hash(Schedule())


def test_frames_in_blocks_follow_the_schedule():
    assert frames_in_blocks(Schedule(), 243, 8) == [121, 121, 121, 81, 81, 81, 81, 81]
    assert frames_in_blocks(Schedule((189, 81), (1, 3)), 243, 4) == [243, 189, 189, 81]
    assert frames_in_blocks(None, 27, 3) == [27, 27, 27]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"frames": 0}, "lifter.frames: expected more than 0, got 0"),
        ({"rate_hz": -50.0}, "lifter.rate_hz"),
        ({"output": "middle"}, "lifter.output: expected one of sequence, centre, got 'middle'"),
    ],
)
def test_an_invalid_spec_raises(fields, complaint):
    with pytest.raises(ConfigError, match=complaint):
        LifterSpec(name="x", **fields)


def test_a_spec_survives_json():
    spec = LifterSpec(name="x", schedule=Schedule((9,), (1,), "tpc", "tra"), config={"width": 64})
    assert msgspec.json.decode(msgspec.json.encode(spec), type=LifterSpec) == spec
