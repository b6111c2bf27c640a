"""The lag curve as Markdown tables and as a plot."""

from pathlib import Path

import pytest

from lifter.evaluation.lag_curve import LagCurve, LagCurveRow
from lifter.reports import lag_curve_page
from lifter.spec import LifterSpec
from stream.errors import ConfigError

ROWS = (LagCurveRow(0, 1, 50.04, 40, 2, 100, 9), LagCurveRow(8, 1, 45, 35.5, 1.5, 75, 3))
CURVE = LagCurve(ROWS, (LagCurveRow(0, 1, 50.04, 40, 2, 100, 9),), 1.25, 2, 160, 100, 160, 50.0, None)
SPEC = LifterSpec(name="tiny", sha256="ab" * 32)
TABLES = """\
| lag, frames | later by | MPJPE mm | P-MPJPE mm | velocity error mm/frame | mm/s | jitter mm/frame² |
|-------------|---------:|---------:|-----------:|------------------------:|-----:|-----------------:|
| 0           |     0 ms |     50.0 |       40.0 |                    2.00 |  100 |             9.00 |
| 8           |   160 ms |     45.0 |       35.5 |                    1.50 |   75 |             3.00 |
| truth       |          |          |            |                         |      |             1.25 |

| hop, frames | later by up to | MPJPE mm | P-MPJPE mm | velocity error mm/frame | mm/s | jitter mm/frame² |
|-------------|---------------:|---------:|-----------:|------------------------:|-----:|-----------------:|
| 1           |           0 ms |     50.0 |       40.0 |                    2.00 |  100 |             9.00 |
| truth       |                |          |            |                         |      |             1.25 |

tiny (sha256 abababababab) on motion.npz: 160 frames of 2 clips at 50 Hz, the same for every row; 100 of them
have all 243 frames of the window behind them, the others begin with a padded one. Passes are blended as live.
Jitter: mean second difference."""


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
