"""Clocks that are set, and machines that sleep, while a camera of this machine delivers frames."""

import dataclasses

import pytest

from stream.messages import KeypointFrame
from tests.stream.runtime.test_source_thread import HOUR, MS, Played, at

CAMERA = {"type": "opencv", "url": 0}  # its frames are stamped on this machine
START = 2 * HOUR


def stamped(ms: float, wall_ms: float) -> KeypointFrame:
    """A frame captured at `ms` of the steady clock, while the wall clock was `wall_ms` ahead of it."""
    frame = at(ms, 300)
    unix_ns = frame.header.captured_unix_ns + round(wall_ms * MS)
    return dataclasses.replace(frame, header=dataclasses.replace(frame.header, captured_unix_ns=unix_ns))


@pytest.mark.parametrize("step_ms", [-HOUR, -2000, -500, 500])
def test_setting_the_wall_clock_changes_neither_frames_nor_people_of_a_camera(step_ms: float):
    before = [stamped(START + 20 * number, 0) for number in range(3)]
    after = [stamped(START + 20 * number, step_ms) for number in range(3, 6)]
    played = Played(*before, *after, source=CAMERA)
    assert played.states == [["new"], ["ok"], ["ok"], ["ok"], ["ok"], ["ok"], ["lost"]]
    assert len(played.ids) == 1
    assert played.drops() == {}


def test_after_a_suspend_the_people_of_a_camera_are_lost_and_get_new_ids(caplog):
    before = [stamped(START + 20 * number, 0) for number in range(2)]
    after = [stamped(START + 20 * number, HOUR) for number in range(2, 4)]
    played = Played(*before, *after, source=CAMERA)
    assert played.states == [["new"], ["ok"], ["lost"], ["new"], ["ok"], ["lost"]]
    assert len(played.ids) == 2
    assert played.health.counter("cam0", "suspended") == 1
    assert "cam0: this machine was suspended for 3600.0 s, or its clock set forward" in caplog.text
