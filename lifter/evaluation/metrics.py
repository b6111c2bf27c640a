"""Pose errors as the field's papers define them, in millimetres.

Every metric takes poses (F, J, 3) float64 in metres, root-relative, of one sequence, and returns a value per
frame or per step in time, so that means over the frames of many sequences come out as papers count them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
MM = 1000.0
PCK_MM, AUC_MM = 150.0, np.arange(0.0, 151.0, 5.0)
MEAN_OF_ROWS = "mean of rows"


def mpjpe(predicted: F64, target: F64) -> F64:
    """Mean joint distance per frame (F,), mm."""
    return _mean_norm_mm(predicted - target)


def n_mpjpe(predicted: F64, target: F64) -> F64:
    """MPJPE per frame (F,) after the best scaling of each pose, mm."""
    dots = (predicted * target).sum(axis=(1, 2), keepdims=True)
    squares = np.square(predicted).sum(axis=(1, 2), keepdims=True)
    return mpjpe(predicted * dots / np.maximum(squares, 1e-12), target)


def p_mpjpe(predicted: F64, target: F64) -> F64:
    """MPJPE per frame (F,) after the best rotation, scaling and shift of each pose (Procrustes), mm."""
    return mpjpe(procrustes_aligned(predicted, target), target)


def procrustes_aligned(predicted: F64, target: F64) -> F64:
    """Each pose (F, J, 3) after the similarity transform that brings it nearest to its target."""
    predicted_mean, target_mean = predicted.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    a, b = predicted - predicted_mean, target - target_mean
    u, s, vt = np.linalg.svd(a.transpose(0, 2, 1) @ b)
    sign = np.sign(np.linalg.det(u @ vt))  # a mirror image is not a rotation
    u[:, :, -1] *= sign[:, None]
    s[:, -1] *= sign
    scale = s.sum(axis=1) / np.maximum(np.square(a).sum(axis=(1, 2)), 1e-12)
    aligned: F64 = scale[:, None, None] * (a @ u @ vt) + target_mean
    return aligned


def mpjve(predicted: F64, target: F64) -> F64:
    """Velocity error per step (F - 1,), mm per frame."""
    return mpjpe(np.diff(predicted, axis=0), np.diff(target, axis=0))


def acceleration_error(predicted: F64, target: F64) -> F64:
    """Error of the second difference in time (F - 2,), mm per frame squared."""
    return mpjpe(np.diff(predicted, n=2, axis=0), np.diff(target, n=2, axis=0))


def acceleration(predicted: F64, target: F64) -> F64:
    """Jitter: size of the prediction's own second difference (F - 2,), mm per frame squared."""
    return _mean_norm_mm(np.diff(predicted, n=2, axis=0))


def pck(predicted: F64, target: F64) -> F64:
    """Share of joints nearer than 150 mm per frame (F,), percent."""
    share: F64 = 100.0 * (MM * np.linalg.norm(predicted - target, axis=-1) < PCK_MM).mean(axis=-1)
    return share


def auc(predicted: F64, target: F64) -> F64:
    """PCK averaged over thresholds from 0 to 150 mm in steps of 5 per frame (F,), percent."""
    distance_mm = MM * np.linalg.norm(predicted - target, axis=-1)
    share: F64 = 100.0 * (distance_mm[..., None] < AUC_MM).mean(axis=(1, 2))
    return share


def _mean_norm_mm(vectors: F64) -> F64:
    norm: F64 = MM * np.linalg.norm(vectors, axis=-1).mean(axis=-1)
    return norm


METRICS = {
    metric.__name__: metric
    for metric in (mpjpe, p_mpjpe, n_mpjpe, mpjve, acceleration_error, acceleration, pck, auc)
}


class MetricTable:
    """Metric means over frames, per row (an action, a source) and over all rows.

    metrics: names of `METRICS`; default: all of them.
    """

    def __init__(self, metrics: Mapping[str, object] = METRICS) -> None:
        self.names = tuple(metrics)
        self._sums: dict[str, dict[str, list[float]]] = {}

    def add(
        self,
        row: str,
        predicted: NDArray[Any],
        target: NDArray[Any],
        pck_joints: Sequence[int] | None = None,
    ) -> None:
        """Add a sequence to a row: poses (F, J, 3) in metres of consecutive frames.

        pck_joints: joints of PCK and AUC, None for all.
        """
        a, b = predicted.astype(np.float64), target.astype(np.float64)
        for name in self.names:
            joints = slice(None) if pck_joints is None or name not in ("pck", "auc") else list(pck_joints)
            values = METRICS[name](a[:, joints], b[:, joints])
            total = self._sums.setdefault(row, {}).setdefault(name, [0.0, 0.0])
            total[0] += float(values.sum())
            total[1] += values.size

    def rows(self) -> dict[str, dict[str, float]]:
        """Row -> metric -> mean; "mean of rows" weighs every row alike, as the tables of papers do."""
        rows = {
            row: {name: total / count for name, (total, count) in sums.items() if count}
            for row, sums in self._sums.items()
        }
        if len(rows) > 1:
            rows[MEAN_OF_ROWS] = {
                name: float(np.mean([row[name] for row in rows.values() if name in row]))
                for name in self.names
            }
        return rows

    def text(self) -> str:
        """The table as text in columns."""
        rows = self.rows()
        width = max([len(row) for row in rows] + [5])
        head = f"{'':{width}}  " + "  ".join(f"{name:>18}" for name in self.names)
        lines = [
            f"{row:{width}}  " + "  ".join(f"{values.get(name, float('nan')):18.2f}" for name in self.names)
            for row, values in rows.items()
        ]
        return "\n".join([head, *lines])
