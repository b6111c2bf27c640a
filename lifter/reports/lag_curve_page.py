"""The lag curve as three Markdown tables for a section of a document, as JSON, and as a plot."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifter.evaluation.lag_curve import WARM_FRAMES, HistoryRow, LagCurve, LagCurveRow
from lifter.paper.figures import check_png_output
from lifter.reports import markdown
from lifter.spec import LifterSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECTION = "lag-curve"  # between <!-- lag-curve --> and <!-- /lag-curve --> of a document
_COLUMNS = ("MPJPE mm", "P-MPJPE mm", "MPJVE mm/frame", "mm/s", "jitter mm/frame²", "seams")
_BLUE, _RED, _GREY = "#2471a3", "#c0392b", "#9a9a9a"


def tables(curve: LagCurve, spec: LifterSpec, data: str) -> str:
    """The tables by lag, by hop and by history, and a paragraph about the data, as Markdown."""
    truth = ("truth", "", "", "", "", "", f"{curve.truth_acceleration:.2f}", "")
    rate = curve.rate_hz
    lags = [(str(row.lag), _ms(row.lag, rate), *_cells(row)) for row in curve.lags]
    hops = [(str(row.hop), _ms(row.hop - 1, rate), *_cells(row)) for row in curve.hops]
    by_lag = markdown.table(("lag, frames", "later by", *_COLUMNS), [*lags, truth])
    by_hop = markdown.table(("hop, frames", "later by up to", *_COLUMNS), [*hops, truth])
    full = curve.histories[-1]
    histories = [
        (
            str(row.history),
            _ms(row.history, rate),
            f"{row.mpjpe:.1f}",
            f"{row.p_mpjpe:.1f}",
            _change(row, full),
        )
        for row in curve.histories
    ]
    columns = (
        "history, frames",
        "since the start",
        "MPJPE mm",
        "P-MPJPE mm",
        "against a full window",
    )
    by_history = markdown.table(columns, histories)
    return "\n\n".join([by_lag, by_hop, by_history, markdown.wrapped(_about(curve, spec, data))])


def _change(row: HistoryRow, full: HistoryRow) -> str:
    """The MPJPE of a short history against that of a full window, in percent."""
    return f"{100 * (row.mpjpe / full.mpjpe - 1):+.1f} %"


def _about(curve: LagCurve, spec: LifterSpec, data: str) -> str:
    at_rate = "" if curve.rate_hz is None else f" at {curve.rate_hz:g} Hz"
    cut = "" if curve.ahead == curve.frames else f"; {curve.ahead} are followed by the longest lag"
    blended = {None: "as live", 0: "not at all"}.get(curve.blend, f"over {curve.blend} frames")
    return (
        f"{spec.name} (sha256 {spec.sha256[:12]}) on {data}: {curve.frames} frames of {curve.clips} clips"
        f"{at_rate}, the same for every row; {curve.warm} of them have {WARM_FRAMES} frames or more before "
        f"them{cut}. Passes are blended {blended}. Jitter: mean second difference. Seams: jitter against the "
        "jitter inside single passes, before blending. History: every fourth of the same frames as the "
        "newest of a window that knows so many frames, in one pass."
    )


def to_json(curve: LagCurve, spec: LifterSpec) -> dict[str, Any]:
    """The curve, the weights' name and their sha256 as values that JSON can hold."""
    names = ("lags", "hops", "histories")
    rows = {name: [row._asdict() for row in getattr(curve, name)] for name in names}
    return {"weights": spec.name, "sha256": spec.sha256, **curve._asdict(), **rows}


def check_outputs(png: Path | None, document: Path | None) -> None:
    """Raise ConfigError before the measurement for outputs that could not be written after it."""
    if png is not None:
        check_png_output(png)
    if document is not None:
        markdown.check_section(document, SECTION)


def plot(curve: LagCurve, spec: LifterSpec, png: Path) -> None:
    """Draw errors, velocity error and jitter over lag and over hop to a PNG."""
    from matplotlib.figure import Figure  # no window system

    figure = Figure(figsize=(9, 6.6), dpi=80, layout="constrained")
    figure.suptitle(f"{spec.name}: latency against accuracy")
    grid = figure.subplots(3, 2, sharex="col", sharey="row", width_ratios=(2, 1))
    columns = (
        ("lag: frames of look-ahead, a pass at every frame", curve.lags, [row.lag for row in curve.lags]),
        ("hop: frames between passes, lag 0", curve.hops, [row.hop for row in curve.hops]),
    )
    for (error, velocity, jitter), (label, rows, ticks) in zip(grid.T, columns, strict=True):
        _line(error, ticks, (row.mpjpe for row in rows), _BLUE, "MPJPE")
        _line(error, ticks, (row.p_mpjpe for row in rows), _RED, "P-MPJPE")
        _line(velocity, ticks, (row.mpjve for row in rows), _BLUE, "velocity error")
        _line(jitter, ticks, (row.acceleration for row in rows), _BLUE, "lifted")
        jitter.axhline(curve.truth_acceleration, color=_GREY, linestyle="--", label="truth")
        _logarithmic_from_zero(jitter, ticks)
        jitter.set_xlabel(label)
    labels = ("error, mm", "velocity error, mm/frame", "jitter, mm/frame²")
    for axes, label in zip(grid[:, 0], labels, strict=True):
        axes.set_ylabel(label)
        axes.set_ylim(0, 1.08 * axes.dataLim.ymax)
    for axes in grid.flat:
        axes.grid(alpha=0.3)
    grid[0, 1].legend(loc="lower left")
    grid[2, 1].legend(loc="upper right")
    figure.savefig(png)


def _logarithmic_from_zero(axes: "Axes", ticks: list[int]) -> None:
    """A logarithmic x axis that includes 0, so that the effect of the first frames is visible."""
    axes.set_xscale("symlog", base=2, linthresh=1.0)
    axes.set_xlim(min(ticks) - 0.2, max(ticks) * 1.2 + 0.2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def _line(axes: "Axes", ticks: list[int], values: Iterable[float], colour: str, label: str) -> None:
    axes.plot(ticks, list(values), color=colour, marker="o", markersize=4, label=label)


def _cells(row: LagCurveRow) -> tuple[str, ...]:
    per_s = "" if row.mpjve_per_s is None else f"{row.mpjve_per_s:.0f}"
    seams = f"{row.acceleration / row.pass_acceleration:.2f}" if row.pass_acceleration else ""
    errors = (f"{row.mpjpe:.1f}", f"{row.p_mpjpe:.1f}", f"{row.mpjve:.2f}")
    return *errors, per_s, f"{row.acceleration:.2f}", seams


def _ms(frames: int, rate_hz: float | None) -> str:
    return "" if rate_hz is None else f"{1000 * frames / rate_hz:.0f} ms"
