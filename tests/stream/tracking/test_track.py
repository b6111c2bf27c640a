"""The motion of one person in the image."""

import numpy as np
import pytest

from stream.tracking.track import Track

BODY = np.random.default_rng(5).uniform((-50, -150), (50, 150), (17, 2)).astype(np.float32)
MS = 1_000_000


def test_missing_joints_move_along_with_the_detected_joints():
    track = Track(BODY, 0, None, external_id=False)
    moved = BODY + np.float32(30)
    moved[8:] = np.nan
    track.update(moved, 20 * MS)
    np.testing.assert_allclose(track.xy, BODY + 30, rtol=1e-5)


def test_the_first_step_of_a_person_gives_the_whole_velocity_and_later_steps_a_part_of_it():
    track = Track(BODY, 0, None, external_id=False)
    track.update(BODY + np.float32([4, 0]), 20 * MS)
    assert track.velocity == pytest.approx([200, 0], rel=1e-4)
    for step in range(2, 40):
        track.update(BODY + np.float32([4 * step, 0]), 20 * step * MS)
    track.update(BODY + np.float32([4 * 39, 4]), 20 * 40 * MS)  # turns by a right angle
    weight = 0.02 / (0.02 + 0.25)
    assert track.velocity == pytest.approx([200 * (1 - weight), 200 * weight], rel=1e-2)
