"""The lag curve as Markdown tables and as a plot."""

from pathlib import Path

import pytest

from lifter.evaluation.lag_curve import HistoryRow, LagCurve, LagCurveRow
from lifter.reports import lag_curve_page
from lifter.spec import LifterSpec
from stream.errors import ConfigError

ROWS = (LagCurveRow(0, 1, 50.04, 40, 2, 100, 9, 4.5), LagCurveRow(8, 1, 45, 35.5, 1.5, 75, 3, 0))
HISTORIES = (HistoryRow(1, 60, 45), HistoryRow(243, 50, 40))
CURVE = LagCurve(
    ROWS, (LagCurveRow(0, 1, 50.04, 40, 2, 100, 9, 6),), HISTORIES, 1.25, 2, 160, 100, 160, 50.0, None
)
SPEC = LifterSpec(name="tiny", sha256="ab" * 32)
TABLES = """\
| lag, frames | later by | MPJPE mm | P-MPJPE mm | MPJVE mm/frame | mm/s | jitter mm/frame² | seams |
|-------------|---------:|---------:|-----------:|---------------:|-----:|-----------------:|------:|
| 0           |     0 ms |     50.0 |       40.0 |           2.00 |  100 |             9.00 |  2.00 |
| 8           |   160 ms |     45.0 |       35.5 |           1.50 |   75 |             3.00 |       |
| truth       |          |          |            |                |      |             1.25 |       |

| hop, frames | later by up to | MPJPE mm | P-MPJPE mm | MPJVE mm/frame | mm/s | jitter mm/frame² | seams |
|-------------|---------------:|---------:|-----------:|---------------:|-----:|-----------------:|------:|
| 1           |           0 ms |     50.0 |       40.0 |           2.00 |  100 |             9.00 |  1.50 |
| truth       |                |          |            |                |      |             1.25 |       |

| history, frames | since the start | MPJPE mm | P-MPJPE mm | against a full window |
|-----------------|----------------:|---------:|-----------:|----------------------:|
| 1               |           20 ms |     60.0 |       45.0 |               +20.0 % |
| 243             |         4860 ms |     50.0 |       40.0 |                +0.0 % |

tiny (sha256 abababababab) on motion.npz: 160 frames of 2 clips at 50 Hz, the same for every row; 100 of them
have 100 frames or more before them. Passes are blended as live. Jitter: mean second difference. Seams: jitter
against the jitter inside single passes, before blending. History: every fourth of the same frames as the
newest of a window that knows so many frames, in one pass."""


def test_the_tables_have_a_row_per_lag_and_hop_and_describe_the_data():
    assert lag_curve_page.tables(CURVE, SPEC, "motion.npz") == TABLES


def test_outputs_that_cannot_be_written_are_refused(tmp_path: Path):
    (tmp_path / "doc.md").write_text("no section")
    with pytest.raises(ConfigError, match="expected the lines <!-- lag-curve -->"):
        lag_curve_page.check_outputs(None, tmp_path / "doc.md")
    with pytest.raises(ConfigError, match="cannot be read"):
        lag_curve_page.check_outputs(None, tmp_path / "none.md")
    with pytest.raises(ConfigError, match="expected an output ending in"):
        lag_curve_page.check_outputs(tmp_path / "plot.pdf", None)


def test_the_plot_is_a_small_png(tmp_path: Path):
    lag_curve_page.plot(CURVE, SPEC, tmp_path / "plot.png")
    picture = (tmp_path / "plot.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000
