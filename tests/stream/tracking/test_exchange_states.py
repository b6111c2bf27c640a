"""Rates at which a detector exchanges sides and returns from that."""

import numpy as np
import pytest

from stream.skeletons import skeleton_named
from stream.tracking.exchange_states import exchange_states

STATES = exchange_states(skeleton_named("h36m17"))
BODY = STATES.exchanged[:, :-1].all(axis=1)  # with or without the face


def test_an_exchange_of_the_whole_body_ends_after_a_second_and_one_of_a_part_after_half_a_second():
    total = STATES.rates.sum(axis=1)
    assert total[BODY] == pytest.approx(1.0)
    assert total[1:][~BODY[1:]] == pytest.approx(2.0)


def test_at_least_seven_of_ten_returns_are_of_all_joints_together():
    assert (STATES.rates[1:, 0] >= 0.7 * STATES.rates[1:].sum(axis=1) - 1e-9).all()


def test_probabilities_of_a_transition_add_up_to_one():
    for elapsed_s in (0.01, 0.02, 0.1):
        np.testing.assert_allclose(STATES.transition(elapsed_s).sum(axis=1), 1.0)
