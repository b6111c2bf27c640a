"""Tables 2 to 8 of the H2OT paper, to compare with the parameters and FLOPs of our models.

Each row has a model, its schedule, parameters in millions, GFLOPs, and MPJPE in mm on Human3.6M.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lifter.paper.flops import FlopCount, count
from lifter.samples import full_size_spec
from lifter.spec import Schedule


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One row as printed.

    schedule: None for the model without pruning. frames: length of the window, None for the paper's 243 (351
    for MHFormer). rule_gflops: the count by the paper's rule, if the printed figure has another last digit.
    """

    table: int
    name: str
    arch: str
    schedule: Schedule | None
    parameters_m: float
    gflops: float
    mpjpe_mm: float
    frames: int | None = None
    rule_gflops: float | None = None

    def count(self) -> FlopCount:
        """Our parameters and FLOPs of this row's model."""
        return count(full_size_spec(self.arch, self.frames, self.schedule))[0]


def _h2ot(keep: list[int], at: list[int], recoverer: str = "tri") -> Schedule:
    return Schedule(tuple(keep), tuple(at), "tps", recoverer)


def _hot(keep: int, at: int, recoverer: str = "tra", pruner: str = "tpc") -> Schedule:
    return Schedule((keep,), (at,), pruner, recoverer)


def _rows() -> Iterator[PaperRow]:
    mixste = PaperRow(2, "MixSTE", "mixste", None, 33.78, 277.25, 40.9)
    yield mixste
    for pruner, mpjpe, rule in (("tpc", 41.0, None), ("tpa", 42.1, 167.51), ("tpmo", 42.8, 167.51)):
        schedule = _hot(81, 3, pruner=pruner)
        yield PaperRow(
            2, f"{pruner.upper()} + TRA", "mixste", schedule, 35.00, 167.52, mpjpe, rule_gflops=rule
        )
    yield PaperRow(2, "TPS + TRA", "mixste", _h2ot([81], [3], "tra"), 35.00, 167.52, 41.4, rule_gflops=167.51)
    yield PaperRow(2, "TPS + TRI", "mixste", _h2ot([81], [3]), 33.78, 161.73, 41.1)
    yield from _table_3(replace(mixste, table=3))
    yield from _table_4(replace(mixste, table=4))
    yield from _table_5()
    yield replace(mixste, table=6)
    for recovered, mpjpe in ((9, 41.2), (27, 40.7), (81, 40.7), (243, 40.4)):
        schedule = _h2ot([121, 81], [0, 3])
        yield PaperRow(6, f"H2OT w. MixSTE (f = {recovered})", "mixste", schedule, 33.78, 118.23, mpjpe)
    yield from _table_7(replace(mixste, table=7))
    yield PaperRow(8, "D3DP", "d3dp", None, 34.84, 277.26, 39.7)
    yield PaperRow(8, "H2OT w. D3DP", "d3dp", _h2ot([121, 81], [0, 3]), 34.84, 118.25, 39.8)
    yield PaperRow(8, "DiffPose", "diffpose", None, 33.78, 277.25, 39.5)
    yield PaperRow(8, "H2OT w. DiffPose", "diffpose", _h2ot([121, 81], [0, 3]), 33.78, 118.23, 39.7)


def _table_3(mixste: PaperRow) -> Iterator[PaperRow]:
    """The two pipelines: rows named seq2frame give the pose of the centre frame."""
    yield mixste
    yield PaperRow(3, "HoT w. MixSTE", "mixste", _hot(81, 3), 35.00, 167.52, 41.0)
    yield PaperRow(3, "H2OT w. MixSTE", "mixste", _h2ot([121, 81], [0, 3]), 33.78, 118.23, 40.5)
    yield replace(mixste, name="MixSTE, seq2frame", mpjpe_mm=40.7)
    yield PaperRow(3, "TPC w. MixSTE, seq2frame", "mixste", _hot(81, 3, "none"), 33.78, 161.73, 40.4)
    tpm = _h2ot([121, 81], [0, 3], "none")
    yield PaperRow(3, "TPM w. MixSTE, seq2frame", "mixste", tpm, 33.78, 118.23, 40.4)
    motionbert = PaperRow(3, "MotionBERT", "motionbert", None, 16.00, 131.09, 39.8)
    yield motionbert
    yield PaperRow(3, "HoT w. MotionBERT", "motionbert", _hot(81, 1), 16.35, 63.21, 39.8)
    yield PaperRow(3, "H2OT w. MotionBERT", "motionbert", _h2ot([121, 81], [0, 1]), 16.00, 47.98, 39.9)
    yield replace(motionbert, name="MotionBERT, seq2frame", mpjpe_mm=39.5)
    yield PaperRow(3, "TPC w. MotionBERT, seq2frame", "motionbert", _hot(81, 1, "none"), 16.00, 61.04, 39.2)
    tpm = _h2ot([121, 81], [0, 1], "none")
    yield PaperRow(3, "TPM w. MotionBERT, seq2frame", "motionbert", tpm, 16.00, 47.98, 39.3)


def _table_4(mixste: PaperRow) -> Iterator[PaperRow]:
    """Numbers of kept frames, and the blocks at which they are pruned."""
    yield mixste
    yield PaperRow(4, "HoT w. MixSTE", "mixste", _hot(81, 3), 35.00, 167.52, 41.0)
    for keep, at, gflops, mpjpe, rule in (
        ([81], [3], 161.73, 41.0, None),
        ([121, 81], [0, 3], 118.23, 40.5, None),
        ([121, 81, 49], [0, 3, 5], 104.54, 40.7, None),
        ([189, 121, 81, 49], [0, 3, 5, 7], 149.32, 40.8, None),
        ([189, 81], [0, 3], 142.48, 40.7, None),
        ([121, 49], [0, 3], 95.41, 41.2, None),
        ([121, 27], [0, 3], 79.73, 41.3, None),
        ([121, 81], [0, 5], 129.64, 40.8, None),
        ([121, 81], [0, 7], 141.05, 40.6, None),
        ([121, 81], [3, 5], 173.14, 40.9, None),
        ([121, 81], [3, 7], 184.55, 40.8, None),
        ([189, 121, 81], [0, 3, 5], 153.89, 40.9, 153.88),
        ([121, 81, 27], [0, 3, 5], 95.13, 41.6, None),
        ([121, 81, 49], [0, 3, 7], 113.67, 40.9, None),
        ([121, 81, 49], [0, 5, 7], 125.08, 40.8, None),
        ([121, 81, 49], [3, 5, 7], 168.57, 40.7, None),
        ([121, 81, 49, 27], [0, 3, 5, 7], 101.40, 41.3, None),
    ):
        name = f"H2OT w. MixSTE, r = {keep}, b = {at}"
        yield PaperRow(4, name, "mixste", _h2ot(keep, at), 33.78, gflops, mpjpe, rule_gflops=rule)


def _table_5() -> Iterator[PaperRow]:
    """MixSTE with shorter windows, and HoT, at about the same cost."""
    for frames, parameters, gflops, mpjpe in (
        (81, 33.70, 92.42, 42.7),
        (121, 33.72, 138.05, 42.0),
        (105, 33.71, 119.80, 42.3),
    ):
        yield PaperRow(5, f"MixSTE, F = {frames}", "mixste", None, parameters, gflops, mpjpe, frames=frames)
    for keep, at, parameters, gflops, mpjpe in (
        (81, 0, 35.00, 109.76, 41.4),
        (81, 3, 35.00, 167.52, 41.0),
        (121, 0, 35.02, 153.26, 41.3),
        (121, 3, 35.02, 196.75, 41.1),
        (81, 1, 35.00, 121.31, 41.2),
        (89, 0, 35.00, 118.46, 41.7),
        (15, 3, 34.97, 119.28, 42.9),
    ):
        name = f"HoT w. MixSTE, r = {keep}, b = {at}"
        yield PaperRow(5, name, "mixste", _hot(keep, at), parameters, gflops, mpjpe)
    yield PaperRow(5, "H2OT w. MixSTE", "mixste", _h2ot([121, 81], [0, 3]), 33.78, 118.23, 40.5)


def _table_7(mixste: PaperRow) -> Iterator[PaperRow]:
    """Four architectures: without pruning, with HoT, and with H2OT."""
    mhformer, motionbert, motionagformer = "mhformer", "motionbert", "motionagformer"
    yield PaperRow(7, "MHFormer", mhformer, None, 31.52, 14.15, 43.0)
    yield PaperRow(7, "TPC w. MHFormer", mhformer, _hot(117, 1, "none"), 31.52, 8.22, 43.0)
    yield PaperRow(7, "TPM w. MHFormer", mhformer, _h2ot([175, 117], [0, 1], "none"), 31.52, 6.74, 43.2)
    yield mixste
    yield PaperRow(7, "HoT w. MixSTE", "mixste", _hot(81, 3), 35.00, 167.52, 41.0)
    yield PaperRow(7, "H2OT w. MixSTE", "mixste", _h2ot([121, 81], [0, 3]), 33.78, 118.23, 40.5)
    yield PaperRow(7, "MotionBERT", motionbert, None, 16.00, 131.09, 39.8)
    yield PaperRow(7, "HoT w. MotionBERT", motionbert, _hot(81, 1), 16.35, 63.21, 39.8)
    schedule = _h2ot([121, 81], [0, 1])
    yield PaperRow(7, "H2OT w. MotionBERT", motionbert, schedule, 16.00, 47.99, 39.9, rule_gflops=47.98)
    yield PaperRow(7, "MotionAGFormer", motionagformer, None, 11.72, 95.99, 38.4)
    yield PaperRow(7, "HoT w. MotionAGFormer", motionagformer, _hot(81, 7), 11.83, 60.56, 38.9)
    yield PaperRow(7, "H2OT w. MotionAGFormer", motionagformer, _h2ot([121, 81], [0, 7]), 11.72, 38.87, 38.5)


ROWS = tuple(_rows())
