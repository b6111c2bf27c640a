"""One video or motion-capture clip with its true poses: what every dataset reader yields."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream.messages import F32


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSequence:
    """A video or clip of L frames with 2D keypoints and true 3D poses.

    row: name of the row of the result table, such as an action. keypoints (L, J, 3) float32 x px, y px,
    score. truth (L, J, 3) float32 root-relative, camera axes, in metres, or in the network's units if
    unit_m (L,) float32 gives their length in metres. size_wh px. joints: indices of the joints that are
    scored, None for all. valid (L,) bool: frames that have a truth, None for all. If known: rate_hz;
    camera (9,) float32 intrinsics as in `lifter.architectures.d3dp_aggregate`; root (L, 3) float32 metres,
    camera axes; video, its name.
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
    video: str = ""

    def at_rate(self, rate_hz: float) -> "LabelledSequence":
        """Every n-th frame, so that the rate is nearest to `rate_hz`; itself if its own rate is unknown."""
        every = 1 if self.rate_hz is None else max(1, round(self.rate_hz / rate_hz))
        if every == 1 or self.rate_hz is None:
            return self
        return replace(
            self,
            keypoints=self.keypoints[::every],
            truth=self.truth[::every],
            valid=None if self.valid is None else self.valid[::every],
            unit_m=None if self.unit_m is None else self.unit_m[::every],
            root=None if self.root is None else self.root[::every],
            rate_hz=self.rate_hz / every,
        )
