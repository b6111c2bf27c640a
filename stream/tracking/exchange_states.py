"""Hypotheses about which left and right joints a detector has exchanged, and how they follow one another.

A detector exchanges the whole body, the arms, the legs, the face, or a single pair of joints, and returns to
the right sides after some tenths of a second. Both are rates of a Markov chain in continuous time.
"""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from stream.messages import Mask
from stream.skeletons import Skeleton

F64 = NDArray[np.float64]

# Rates per second at which a detector exchanges sides.
GROUP_RATE, PAIR_RATE, OTHER_RATE = 0.05, 0.02, 1e-5
# Rates per second at which it returns from an exchange of the whole body, and of a part of it. They also end
# a repair where both sides look the same.
BODY_RETURN_RATE, PART_RETURN_RATE = 1.0, 2.0
WHOLE_RETURN = 0.7  # share of the returns in which all joints return together
START_PROBABILITY = 0.2  # of the whole body in a person's first frame, when a detector is least certain
_LEG_JOINTS = ("hip", "knee", "ankle", "heel", "toe", "foot")
_ARM_JOINTS = ("shoulder", "elbow", "wrist", "pinky", "index", "thumb")
FACE = "face"  # the pair of face points beside the skeleton's own pairs


def pair_names(skeleton: Skeleton) -> tuple[str, ...]:
    """Names of the P pairs of joints without their side, then `FACE`."""
    return (*(skeleton.joints[left].removeprefix("left_") for left, _ in skeleton.flip_pairs), FACE)


class ExchangeStates:
    """The S states of the P pairs of a skeleton, the last pair being the face points.

    exchanged (S, P) bool: pairs that a state exchanges; state 0 exchanges none. start (S,) float64:
    probability of each state in a person's first frame. changed (S, S, P) float64: 1
    for the pairs that change between two states. rates (S, S) per second, from the first state to the second.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        legs: Mask = np.array([name.startswith(_LEG_JOINTS) for name in names])
        arms = np.array([name.startswith(_ARM_JOINTS) for name in names])
        arms &= ~legs
        face = ~(legs | arms)
        singles = np.eye(len(names), dtype=np.bool_)
        groups = [group for group in (legs, arms, face) if group.any()]
        moves = [*groups, legs | arms, np.ones(len(names), np.bool_)]
        self.exchanged = _distinct(
            [
                np.logical_or.reduce([g for g, used in zip(groups, bits, strict=True) if used], axis=0)
                ^ single
                if any(bits)
                else single
                for bits in product((False, True), repeat=len(groups))
                for single in (np.zeros(len(names), np.bool_), *singles)
            ]
        )
        different: Mask = self.exchanged[:, None] ^ self.exchanged
        self.changed: F64 = different.astype(np.float64)
        whole = np.logical_and.reduce(self.exchanged, axis=1)
        self.start: F64 = np.where(whole, START_PROBABILITY, 0.0)
        self.start[0] = 1 - START_PROBABILITY
        self.rates = self._rates(different, _distinct(moves), singles)

    def _rates(self, different: Mask, moves: Mask, singles: Mask) -> F64:
        rates = np.full(different.shape[:2], OTHER_RATE)
        for row in singles:
            rates[(different == row).all(axis=2)] = PAIR_RATE
        for row in moves:
            rates[(different == row).all(axis=2)] = GROUP_RATE
        for row in (*moves, *singles):  # back towards the right sides
            contains_row = np.logical_and.reduce(self.exchanged | ~row, axis=1)
            rates[(different == row).all(axis=2) & contains_row[:, None]] = PART_RETURN_RATE
        rates[1:, 0] = PART_RETURN_RATE
        np.fill_diagonal(rates, 0.0)
        # Exchanges of all parts last equally long, however many joints of them could return alone.
        body = np.logical_and.reduce(self.exchanged[1:, :-1], axis=1)
        total = np.where(body, BODY_RETURN_RATE, PART_RETURN_RATE)
        rates[1:] *= (1 - WHOLE_RETURN) * (total / rates[1:].sum(axis=1))[:, None]
        rates[1:, 0] += WHOLE_RETURN * total
        return rates

    def transition(self, elapsed_s: float) -> F64:
        """(S, S) probabilities of the second state, `elapsed_s` after the first."""
        probability = np.minimum(self.rates * elapsed_s, 0.5)
        np.fill_diagonal(probability, np.maximum(1.0 - probability.sum(axis=1), 0.1))
        return probability


def _distinct(rows: list[Mask]) -> Mask:
    """The rows without repetition, in their order."""
    unique = dict.fromkeys(tuple(row.tolist()) for row in rows)
    return np.array(list(unique), np.bool_)


@cache
def exchange_states(skeleton: Skeleton) -> ExchangeStates:
    """The states of a skeleton's pairs and its face."""
    return ExchangeStates(pair_names(skeleton))
