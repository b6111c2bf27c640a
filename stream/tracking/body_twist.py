"""How far a person would be twisted, from the widths of hips, shoulders and face in the picture.

A part of the body that turns about the trunk shows its width times the cosine of the turn, left minus right.
Two widths give the smallest possible angle between two parts: above what a spine or a neck can turn, one of
them has its sides exchanged.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.messages import Mask
from stream.skeletons import Skeleton
from stream.tracking.exchange_states import FACE, ExchangeStates, pair_names

F64 = NDArray[np.float64]

# Widths in trunk lengths, from the middle of the hips to that of the shoulders, as detectors place them.
HIP_WIDTH, SHOULDER_WIDTH, FACE_WIDTH = 0.40, 0.65, 0.20
MIN_TRUNK = 0.18  # of the body size: a shorter trunk points at the camera or away from it
# Twists of the spine and the neck that are unusual, and twists that are impossible.
SPINE_RAD, NECK_RAD = np.radians((40.0, 75.0)), np.radians((70.0, 95.0))
# Penalties in nats per second for one radian more than each of the two limits.
PENALTY = np.array((20.0, 40.0))


class BodyTwist:
    """Penalties of exchange states that would twist the body of a skeleton too far."""

    def __init__(self, skeleton: Skeleton, states: ExchangeStates) -> None:
        names = pair_names(skeleton)
        pairs = [*skeleton.flip_pairs, (len(skeleton.joints), len(skeleton.joints) + 1)]
        parts = [names.index(part) for part in ("hip", "shoulder", FACE)]
        self._left, self._right = np.array([pairs[part] for part in parts]).T
        self._sign = 1.0 - 2.0 * states.exchanged[:, parts]  # (S, 3)

    def penalty(self, xy: F64, detected: Mask, size_px: float) -> F64 | None:
        """(S,) nats per second for each state; None when the trunk is hidden or too short in the picture.

        xy (J + 2, 2) px, joints and face points; detected (J + 2,); size_px: of the body.
        """
        left, right = xy[self._left], xy[self._right]
        visible = detected[self._left] & detected[self._right]
        if not visible[:2].all():
            return None
        trunk = (left[1] + right[1] - left[0] - right[0]) / 2
        length = float(np.hypot(*trunk))
        if length < max(MIN_TRUNK * size_px, 1.0):
            return None
        across = np.array([-trunk[1], trunk[0]]) / length**2  # points to the left of a person who faces us
        width: Sequence[float] = (HIP_WIDTH, SHOULDER_WIDTH, FACE_WIDTH)
        cosine = np.clip((left - right) @ across / width, -1.0, 1.0)
        turn = np.arccos(self._sign * cosine)  # (S, 3)
        penalty = _penalty(turn[:, 0] - turn[:, 1], SPINE_RAD)
        return penalty + _penalty(turn[:, 1] - turn[:, 2], NECK_RAD) if visible[2] else penalty


def _penalty(twist: F64, limits: F64) -> F64:
    """(S,) nats per second of the twists (S,) rad between two parts of the body."""
    penalty: F64 = np.maximum(np.abs(twist)[:, None] - limits, 0.0) @ PENALTY
    return penalty
