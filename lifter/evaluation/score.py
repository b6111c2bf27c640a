"""`poselift evaluate`: the errors of weights on a dataset, as a table.

    print(score("small", "data/motion_test.npz").text())

data is a folder with the files of "h36m" or "mpi3dhp", MotionBERT's pickle or folder of clips, motion
capture (filmed by cameras that never change), or an `.npz` of sequences: real videos with a known truth.
The last one has for every sequence `<name>/keypoints` (F, 17, 3) x px, y px, score, `<name>/truth` (F, 17, 3)
metres in camera axes, `<name>/size_wh` (2,) and, where only some joints are known, `<name>/joints` their
indices, where it is known `<name>/fps`.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

import lifter
from lifter import weights as files
from lifter.architectures.d3dp_aggregate import Aggregate
from lifter.data import h36m, motionbert, mpi3dhp
from lifter.data import safe_load as safe
from lifter.data.sequence import LabelledSequence as Sequence
from lifter.evaluation.evaluate import Reading, evaluate
from lifter.evaluation.metrics import Table
from lifter.synthesis import test_clips as benchmark
from stream.errors import ConfigError

Seen = Literal["detector", "clean"]
Answer = Aggregate | Literal["flip"]


def score(
    weights: str | Path,
    data: str | Path,
    reading: Reading = "seq2seq",
    seen: Seen = "detector",
    every: int = 1,
    answer: Answer = "mean",
) -> Table:
    """Errors of weights (a file or a packaged name) per row of `data`.

    seen: how motion capture is seen, with a detector's errors or clean; every: take each so-many-th sequence;
    answer: "flip" averages each with the mirrored one, else how D3DP's hypotheses become one.
    """
    path = lifter.weights_path(weights)
    model, spec = files.load(path)
    chosen = islice(sequences(Path(data), seen), 0, None, every)
    return evaluate(model, spec, chosen, reading, answer == "flip", "mean" if answer == "flip" else answer)


def sequences(data: Path, seen: Seen = "detector") -> Iterator[Sequence]:
    """All test videos of `data`, with their truth."""
    if (data / "data_3d_h36m.npz").is_file():
        return h36m.read_h36m(data, "test")
    if (data / "data_test_3dhp.npz").is_file():
        return mpi3dhp.read_mpi3dhp(data, "test")
    if data.suffix in (".pkl", ".pickle") or motionbert.is_clips(data):
        return motionbert.read_motionbert(data, "test")
    if data.suffix != ".npz" or not data.is_file():
        raise ConfigError(
            f"data: expected a folder with data_3d_h36m.npz or data_test_3dhp.npz, MotionBERT's .pkl "
            f"or folder of clips, or an .npz of motion capture or sequences, got {data}"
        )
    with safe.open_npz(data) as file:
        names = sorted(name.removesuffix("/truth") for name in file if name.endswith("/truth"))
        if names:
            return iter([_own(file, name) for name in names])
    return benchmark.synthetic_sequences(data, seen)


def _own(file: np.lib.npyio.NpzFile, name: str) -> Sequence:
    keypoints, truth = file[f"{name}/keypoints"].astype(np.float32), file[f"{name}/truth"].astype(np.float32)
    if keypoints.shape != truth.shape or keypoints.ndim != 3 or keypoints.shape[1:] != (17, 3):
        raise ConfigError(
            f"{name}: expected keypoints and truth (F, 17, 3), got {keypoints.shape} and {truth.shape}"
        )
    width, height = (int(n) for n in file[f"{name}/size_wh"])
    joints = tuple(int(n) for n in file[f"{name}/joints"]) if f"{name}/joints" in file else None
    rate_hz = float(file[f"{name}/fps"]) if f"{name}/fps" in file else None
    return Sequence(name, keypoints, truth - truth[:, :1], (width, height), joints, rate_hz=rate_hz)
