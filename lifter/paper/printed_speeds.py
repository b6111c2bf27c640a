"""Speeds, memory and times that the H2OT paper prints in Tables 2, 3, 4 and 8, for one GeForce RTX 3090."""

from typing import NamedTuple


class PrintedSpeed(NamedTuple):
    """One row as printed.

    fps: poses per second in Tables 3 (seq2seq) and 8; windows per second ("FPS/Frame") in Tables 2 and 4 and
    for the seq2frame rows of Table 3. memory_gb, epoch_minutes: of training. frame_noise: 2D error of the
    kept frames ("FN"), mm as printed. ratio: share of pruning and recovery in the time of a window.
    """

    fps: float
    memory_gb: float | None = None
    epoch_minutes: float | None = None
    frame_noise: float | None = None
    ratio: float | None = None


_H2OT = "H2OT w. MixSTE, r = {}, b = {}"
SPEEDS: dict[tuple[int, str], PrintedSpeed] = {
    (2, "MixSTE"): PrintedSpeed(41, frame_noise=6.61),
    (2, "TPC + TRA"): PrintedSpeed(56, frame_noise=6.63, ratio=0.33),
    (2, "TPA + TRA"): PrintedSpeed(63, frame_noise=6.56, ratio=0.04),
    (2, "TPMO + TRA"): PrintedSpeed(62, frame_noise=7.00, ratio=0.03),
    (2, "TPS + TRA"): PrintedSpeed(64, frame_noise=6.61, ratio=0.03),
    (2, "TPS + TRI"): PrintedSpeed(66, frame_noise=6.61, ratio=0.00),
    (3, "MixSTE"): PrintedSpeed(9982, 11.4, 17.9),
    (3, "HoT w. MixSTE"): PrintedSpeed(14297, 7.6, 11.2),
    (3, "H2OT w. MixSTE"): PrintedSpeed(18745, 5.6, 8.4),
    (3, "MixSTE, seq2frame"): PrintedSpeed(41, 11.4, 17.9),
    (3, "TPC w. MixSTE, seq2frame"): PrintedSpeed(61, 7.3, 10.7),
    (3, "TPM w. MixSTE, seq2frame"): PrintedSpeed(69, 5.6, 8.7),
    (3, "MotionBERT"): PrintedSpeed(12719, 10.7, 18.5),
    (3, "HoT w. MotionBERT"): PrintedSpeed(15289, 6.1, 11.5),
    (3, "H2OT w. MotionBERT"): PrintedSpeed(18779, 4.4, 9.0),
    (3, "MotionBERT, seq2frame"): PrintedSpeed(52, 10.7, 18.5),
    (3, "TPC w. MotionBERT, seq2frame"): PrintedSpeed(68, 5.7, 10.9),
    (3, "TPM w. MotionBERT, seq2frame"): PrintedSpeed(76, 4.4, 8.9),
    (4, "MixSTE"): PrintedSpeed(41, 11.4, 17.9),
    (4, "HoT w. MixSTE"): PrintedSpeed(56, 7.6, 11.2),
    (4, _H2OT.format([81], [3])): PrintedSpeed(66, 7.3, 10.7),
    (4, _H2OT.format([121, 81], [0, 3])): PrintedSpeed(82, 5.6, 8.0),
    (4, _H2OT.format([121, 81, 49], [0, 3, 5])): PrintedSpeed(85, 5.1, 7.9),
    (4, _H2OT.format([189, 121, 81, 49], [0, 3, 5, 7])): PrintedSpeed(74, 6.7, 10.1),
    (4, _H2OT.format([189, 81], [0, 3])): PrintedSpeed(75, 6.4, 10.2),
    (4, _H2OT.format([121, 49], [0, 3])): PrintedSpeed(82, 4.8, 6.8),
    (4, _H2OT.format([121, 27], [0, 3])): PrintedSpeed(83, 4.4, 6.5),
    (4, _H2OT.format([121, 81], [0, 5])): PrintedSpeed(82, 5.7, 8.7),
    (4, _H2OT.format([121, 81], [0, 7])): PrintedSpeed(80, 6.4, 9.5),
    (4, _H2OT.format([121, 81], [3, 5])): PrintedSpeed(64, 7.8, 11.3),
    (4, _H2OT.format([121, 81], [3, 7])): PrintedSpeed(62, 8.2, 12.0),
    (4, _H2OT.format([189, 121, 81], [0, 3, 5])): PrintedSpeed(72, 6.9, 10.8),
    (4, _H2OT.format([121, 81, 27], [0, 3, 5])): PrintedSpeed(84, 4.9, 6.7),
    (4, _H2OT.format([121, 81, 49], [0, 3, 7])): PrintedSpeed(83, 5.4, 7.8),
    (4, _H2OT.format([121, 81, 49], [0, 5, 7])): PrintedSpeed(71, 5.8, 9.0),
    (4, _H2OT.format([121, 81, 49], [3, 5, 7])): PrintedSpeed(66, 7.6, 11.1),
    (4, _H2OT.format([121, 81, 49, 27], [0, 3, 5, 7])): PrintedSpeed(84, 5.1, 7.7),
    (8, "D3DP"): PrintedSpeed(820),
    (8, "H2OT w. D3DP"): PrintedSpeed(1154),
    (8, "DiffPose"): PrintedSpeed(6522),
    (8, "H2OT w. DiffPose"): PrintedSpeed(9426),
}


def is_per_window(table: int, name: str) -> bool:
    """Whether the printed FPS counts windows, of which each gives one pose, and not the poses of windows."""
    return table in (2, 4) or name.endswith("seq2frame")
