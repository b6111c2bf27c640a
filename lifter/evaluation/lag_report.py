"""The lag curve for people: two tables in Markdown, for a place in a document, and a plot."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifter.evaluation import markdown as document
from lifter.evaluation.lag_curve import Curve, Row
from lifter.paper.figures import check_png_output
from lifter.spec import LifterSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACE = "lag-curve"  # <!-- lag-curve --> and <!-- /lag-curve --> in the document
_HEAD = ("MPJPE mm", "P-MPJPE mm", "velocity error mm/frame", "mm/s", "jitter mm/frame²")
_INK, _SECOND, _TRUTH = "#2471a3", "#c0392b", "#9a9a9a"


def tables(curve: Curve, spec: LifterSpec, data: str) -> str:
    """Both tables and a line on what was measured, as Markdown that is readable as it is."""
    truth = ("truth", "", "", "", "", "", f"{curve.truth_acceleration:.2f}")
    rate = curve.rate_hz
    lags = [(str(row.lag), _ms(row.lag, rate), *_numbers(row)) for row in curve.lags]
    hops = [(str(row.hop), _ms(row.hop - 1, rate), *_numbers(row)) for row in curve.hops]
    hertz = "" if rate is None else f" at {rate:g} Hz"
    cut = "" if curve.ahead == curve.frames else f"; {curve.ahead} are followed by the longest lag"
    blended = {None: "as live", 0: "not at all"}.get(curve.blend, f"over {curve.blend} frames")
    about = (
        f"{spec.name} (sha256 {spec.sha256[:12]}) on {data}: {curve.frames} frames of {curve.clips} clips"
        f"{hertz}, the same for every row; {curve.full} of them have all {spec.frames} frames of the window "
        f"behind them, the others begin with a padded one{cut}. Passes are blended {blended}. "
        "Jitter: mean second difference."
    )
    first = document.table(("lag, frames", "later by", *_HEAD), [*lags, truth])
    second = document.table(("hop, frames", "later by up to", *_HEAD), [*hops, truth])
    return "\n\n".join([first, second, document.wrapped(about)])


def plain(curve: Curve, spec: LifterSpec) -> dict[str, Any]:
    """The curve as JSON has it."""
    rows = {name: [row._asdict() for row in getattr(curve, name)] for name in ("lags", "hops")}
    return {"weights": spec.name, "sha256": spec.sha256, **curve._asdict(), **rows}


def check(output: Path | None, page: Path | None) -> None:
    """Refuse before the work what would fail after it."""
    if output is not None:
        check_png_output(output)
    if page is not None:
        document.check(page, PLACE)


def plot(curve: Curve, spec: LifterSpec, output: Path) -> None:
    """Draw errors, velocity error and jitter over lag and over hop to a PNG."""
    from matplotlib.figure import Figure  # no window system

    figure = Figure(figsize=(9, 6.6), dpi=80, layout="constrained")
    figure.suptitle(f"{spec.name}: what waiting for newer frames is worth")
    grid = figure.subplots(3, 2, sharex="col", sharey="row", width_ratios=(2, 1))
    sides = (
        ("lag: frames of look-ahead, a pass at every frame", curve.lags, [row.lag for row in curve.lags]),
        ("hop: frames between passes, lag 0", curve.hops, [row.hop for row in curve.hops]),
    )
    for (error, velocity, jitter), (name, rows, places) in zip(grid.T, sides, strict=True):
        _line(error, places, (row.mpjpe for row in rows), _INK, "MPJPE")
        _line(error, places, (row.p_mpjpe for row in rows), _SECOND, "P-MPJPE")
        _line(velocity, places, (row.mpjve for row in rows), _INK, "velocity error")
        _line(jitter, places, (row.acceleration for row in rows), _INK, "lifted")
        jitter.axhline(curve.truth_acceleration, color=_TRUTH, linestyle="--", label="truth")
        # In factors, with a place for 0: what the first frames bring shows.
        jitter.set_xscale("symlog", base=2, linthresh=1.0)
        jitter.set_xlim(min(places) - 0.2, max(places) * 1.2 + 0.2)
        jitter.set_xticks(places, [str(place) for place in places])
        jitter.minorticks_off()
        jitter.set_xlabel(name)
    for axes, what in zip(
        grid[:, 0], ("error, mm", "velocity error, mm/frame", "jitter, mm/frame²"), strict=True
    ):
        axes.set_ylabel(what)
        axes.set_ylim(0, 1.08 * axes.dataLim.ymax)
    for axes in grid.flat:
        axes.grid(alpha=0.3)
    grid[0, 1].legend(loc="lower left")
    grid[2, 1].legend(loc="upper right")
    figure.savefig(output)


def _line(axes: "Axes", places: list[int], values: Iterable[float], ink: str, label: str) -> None:
    axes.plot(places, list(values), color=ink, marker="o", markersize=4, label=label)


def _numbers(row: Row) -> tuple[str, ...]:
    per_s = "" if row.mpjve_per_s is None else f"{row.mpjve_per_s:.0f}"
    return f"{row.mpjpe:.1f}", f"{row.p_mpjpe:.1f}", f"{row.mpjve:.2f}", per_s, f"{row.acceleration:.2f}"


def _ms(frames: int, rate_hz: float | None) -> str:
    return "" if rate_hz is None else f"{1000 * frames / rate_hz:.0f} ms"
