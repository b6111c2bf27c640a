"""How far poses are from the truth: the field's metrics, in millimetres.

All take poses (F, J, 3) in metres, root-relative, of one sequence, and answer per frame or per
step in time, so that averages over frames of many sequences come out as papers count them.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
MM = 1000.0
PCK_MM, AUC_MM = 150.0, np.arange(0.0, 151.0, 5.0)


def mpjpe(predicted: F64, target: F64) -> F64:
    """Mean distance of joints per frame (F,), mm."""
    return MM * np.linalg.norm(predicted - target, axis=-1).mean(axis=-1)


def n_mpjpe(predicted: F64, target: F64) -> F64:
    """The same after scaling each pose best (F,), mm."""
    dots = (predicted * target).sum(axis=(1, 2), keepdims=True)
    squares = np.square(predicted).sum(axis=(1, 2), keepdims=True)
    return mpjpe(predicted * dots / np.maximum(squares, 1e-12), target)


def p_mpjpe(predicted: F64, target: F64) -> F64:
    """The same after turning, scaling and moving each pose best (Procrustes) (F,), mm."""
    return mpjpe(aligned(predicted, target), target)


def aligned(predicted: F64, target: F64) -> F64:
    """Each pose (F, J, 3) after the similarity transform that brings it nearest to its target."""
    middle, aim = predicted.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    a, b = predicted - middle, target - aim
    u, s, vt = np.linalg.svd(a.transpose(0, 2, 1) @ b)
    sign = np.sign(np.linalg.det(u @ vt))  # a mirror image is not a rotation
    u[:, :, -1] *= sign[:, None]
    s[:, -1] *= sign
    scale = s.sum(axis=1) / np.maximum(np.square(a).sum(axis=(1, 2)), 1e-12)
    return scale[:, None, None] * (a @ u @ vt) + aim


def mpjve(predicted: F64, target: F64) -> F64:
    """Error of the change from frame to frame (F - 1,), mm per frame."""
    return mpjpe(np.diff(predicted, axis=0), np.diff(target, axis=0))


def acceleration_error(predicted: F64, target: F64) -> F64:
    """Error of the second difference in time (F - 2,), mm per frame squared."""
    return mpjpe(np.diff(predicted, n=2, axis=0), np.diff(target, n=2, axis=0))


def acceleration(predicted: F64, target: F64) -> F64:
    """Size of the second difference of the prediction itself: jitter (F - 2,), mm per frame squared."""
    return MM * np.linalg.norm(np.diff(predicted, n=2, axis=0), axis=-1).mean(axis=-1)


def pck(predicted: F64, target: F64) -> F64:
    """Share of joints nearer than 150 mm per frame (F,), percent."""
    return 100.0 * (MM * np.linalg.norm(predicted - target, axis=-1) < PCK_MM).mean(axis=-1)


def auc(predicted: F64, target: F64) -> F64:
    """PCK averaged over thresholds from 0 to 150 mm in steps of 5 per frame (F,), percent."""
    distance = MM * np.linalg.norm(predicted - target, axis=-1)
    return 100.0 * (distance[..., None] < AUC_MM).mean(axis=(1, 2))


METRICS = {
    metric.__name__: metric
    for metric in (mpjpe, p_mpjpe, n_mpjpe, mpjve, acceleration_error, acceleration, pck, auc)
}


class Table:
    """Means over frames, per row (an action, a source) and over everything."""

    def __init__(self, metrics: Mapping[str, object] = METRICS) -> None:
        self.names = tuple(metrics)
        self._sums: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, predicted: NDArray, target: NDArray) -> None:
        """Count a sequence: poses (F, J, 3) of consecutive frames."""
        a, b = predicted.astype(np.float64), target.astype(np.float64)
        for name in self.names:
            values = METRICS[name](a, b)
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
            rows["mean of rows"] = {
                name: float(np.mean([row[name] for row in rows.values() if name in row]))
                for name in self.names
            }
        return rows

    def text(self) -> str:
        """The table as people read it."""
        rows = self.rows()
        width = max([len(row) for row in rows] + [5])
        head = f"{'':{width}}  " + "  ".join(f"{name:>18}" for name in self.names)
        lines = [
            f"{row:{width}}  " + "  ".join(f"{values.get(name, float('nan')):18.2f}" for name in self.names)
            for row, values in rows.items()
        ]
        return "\n".join([head, *lines])
