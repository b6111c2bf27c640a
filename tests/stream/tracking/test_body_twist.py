"""Penalties of exchanges that would twist a body too far."""

import numpy as np

from stream.skeletons import skeleton_named
from stream.tracking.body_twist import BodyTwist
from stream.tracking.exchange_states import exchange_states

H36M17 = skeleton_named("h36m17")
STATES = exchange_states(H36M17)


def facing_camera(trunk_px: float) -> np.ndarray:
    """Hips 40 px and shoulders 65 px wide, left joints to the right in the image, and no face: (19, 2) px."""
    xy = np.zeros((19, 2))
    for name, half_width, y in (("hip", 20.0, 0.0), ("shoulder", 32.5, -trunk_px)):
        xy[H36M17.index_of[f"left_{name}"]] = half_width, y
        xy[H36M17.index_of[f"right_{name}"]] = -half_width, y
    return xy


def test_a_body_that_faces_the_camera_has_no_penalty_but_exchanged_hips_have_one():
    detected = np.arange(19) < 17
    penalty = BodyTwist(H36M17, STATES).penalty(facing_camera(100.0), detected, 250.0)
    assert penalty is not None
    legs = next(
        number
        for number, exchanged in enumerate(STATES.exchanged)
        if exchanged[:3].all() and not exchanged[3:].any()
    )
    assert penalty[0] == 0
    assert penalty[legs] > 10  # per second


def test_a_trunk_that_points_at_the_camera_gives_no_penalty():
    detected = np.arange(19) < 17
    twist = BodyTwist(H36M17, STATES)
    assert twist.penalty(facing_camera(46.0), detected, 250.0) is not None
    assert twist.penalty(facing_camera(44.0), detected, 250.0) is None  # below 0.18 of the body size


def test_without_a_shoulder_there_is_no_penalty():
    detected = np.arange(19) < 17
    detected[H36M17.index_of["left_shoulder"]] = False
    assert BodyTwist(H36M17, STATES).penalty(facing_camera(100.0), detected, 250.0) is None
