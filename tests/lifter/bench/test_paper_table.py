"""Tables of the paper measured on this machine: every row is there, with the figures of its model."""

import numpy as np
import pytest

from lifter.bench import paper_table
from lifter.bench.candidates import BenchPlan
from lifter.bench.timing import Elapsed
from lifter.paper.printed_speeds import SPEEDS, is_per_window
from lifter.paper.tables import ROWS
from lifter.training import dry_run as dry
from stream.errors import ConfigError

PLAN = BenchPlan(device="cpu", threads=1).shortened()


def only(monkeypatch, table, name):
    row = next(row for row in ROWS if (row.table, row.name) == (table, name))
    monkeypatch.setattr(paper_table, "ROWS", (row,))


def test_every_row_with_a_printed_speed_has_a_model_and_the_other_way_round():
    assert {(row.table, row.name) for row in ROWS if row.table in paper_table.TABLES} == set(SPEEDS)
    assert paper_table.TABLES == (2, 3, 4, 8)


def test_a_row_of_table_3_has_speed_training_memory_and_time(monkeypatch):
    only(monkeypatch, 3, "H2OT w. MixSTE")
    (row,) = paper_table.bench_paper_table(3, PLAN)["rows"]
    assert (row["model"], row["fps"], row["memory_gb"], row["epoch_minutes"]) == (
        "H2OT w. MixSTE",
        18745,
        5.6,
        8.4,
    )
    assert row["our_fps"] > 243
    assert row["our_memory_gb"] is None  # on a CPU
    assert row["our_epoch_minutes"] > 0


def test_rows_are_measured_without_the_frame_cache_and_compared_with_the_unpruned_model(monkeypatch):
    times_ms, caches, progress = iter([200.0, 50.0, 100.0]), [], []

    def time_windows(runners, windows, plan, timer):
        caches.append(runners[""].frame_cache)
        return {"": {1: [Elapsed(next(times_ms), 0.0)]}}

    monkeypatch.setattr(paper_table, "time_windows", time_windows)
    monkeypatch.setattr(paper_table, "training_cost", lambda runner, steps: (None, 1.0))
    monkeypatch.setattr(paper_table, "ROWS", [row for row in ROWS if row.table == 3][:3:2])
    rows = paper_table.bench_paper_table(3, PLAN, None, lambda *counts: progress.append(counts))["rows"]
    assert caches == [None, None]
    assert [(row["model"], row["our_fps"], row["speedup"], row["our_speedup"]) for row in rows] == [
        ("MixSTE", 1215.0, 1.0, 1.0),
        ("H2OT w. MixSTE", 4860.0, 1.88, 4.0),
    ]
    assert progress == [(0, 2), (1, 2), (2, 2)]
    monkeypatch.setattr(paper_table, "ROWS", [row for row in ROWS if (row.table, row.name) == (4, "MixSTE")])
    (row,) = paper_table.bench_paper_table(4, PLAN)["rows"]
    assert row["our_fps"] == 10.0  # windows, each of which gives one pose


def test_an_epoch_is_the_training_frames_of_human36m_twice_in_batches_of_four_windows(monkeypatch):
    """1 559 752 frames, plain and mirrored, are 12 837 windows of 243 frames: 3209.25 steps."""
    only(monkeypatch, 3, "H2OT w. MixSTE")
    monkeypatch.setattr(paper_table, "training_cost", lambda runner, steps: (5.5, 2.0))
    (row,) = paper_table.bench_paper_table(3, PLAN)["rows"]
    assert (row["our_memory_gb"], row["our_epoch_minutes"]) == (5.5, 106.97)


def test_the_frame_noise_is_the_2d_error_of_the_kept_frames(monkeypatch, tmp_path):
    for detector in ("gt", "cpn_ft_h36m_dbb"):
        dry.WRITERS["h36m"](tmp_path, {"detector": detector}, 250)
    file = np.load(tmp_path / "data_2d_h36m_gt.npz", allow_pickle=True)["positions_2d"].item()
    for videos in file.values():
        for cameras in videos.values():
            for xy in cameras:
                xy += [3, 4]
    np.savez(tmp_path / "data_2d_h36m_gt.npz", allow_pickle=True, positions_2d=np.array(file, dtype=object))
    only(monkeypatch, 2, "TPS + TRI")
    (row,) = paper_table.bench_paper_table(2, PLAN, tmp_path)["rows"]
    assert row["our_frame_noise_px"] == 5.0
    assert (row["ratio"], row["frame_noise_mm"]) == (0.0, 6.61)
    assert 0 <= row["our_ratio"] < 1


def test_seq2frame_and_tables_2_and_4_count_windows():
    counted = [
        is_per_window(*row) for row in ((2, "MixSTE"), (3, "MixSTE"), (3, "MixSTE, seq2frame"), (4, "x"))
    ]
    assert counted == [True, False, True, True]
    assert not is_per_window(8, "D3DP")


def test_a_table_without_speeds_is_refused():
    with pytest.raises(ConfigError, match="expected one of the tables 2, 3, 4, 8, got 5"):
        paper_table.bench_paper_table(5, PLAN)
