"""One video or motion-capture clip with its true poses: what every dataset reader yields."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.messages import F32


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A video with a known truth.

    keypoints (L, J, 3) float32 x px, y px, score; truth (L, J, 3) float32 metres, root-relative, camera
    axes; row of the table it counts in; joints that are scored (all of them for None); which frames
    have a truth, (L,) bool, or None for all. Where networks answer in other units than metres, the truth
    is in those too and unit_m (L,) says how many metres one is. Where it is known: rate_hz, frames per
    second; camera (9,) as `lifter.aggregate` has it; root (L, 3) float32 metres, in camera axes.
    """

    row: str
    keypoints: F32
    truth: F32
    size_wh: tuple[int, int]
    joints: tuple[int, ...] | None = None
    valid: NDArray[np.bool_] | None = None
    unit_m: F32 | None = None
    rate_hz: float | None = None
    camera: F32 | None = None
    root: F32 | None = None
