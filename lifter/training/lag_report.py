"""The lag curve for people: two tables in Markdown, a plot, and a document that holds both up to date."""

from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from lifter.figures import writable_png
from lifter.spec import LifterSpec
from lifter.training.lag_curve import Curve, Row
from stream.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

START, END = "<!-- lag-curve -->", "<!-- /lag-curve -->"
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
    first = _table(("lag, frames", "later by", *_HEAD), [*lags, truth])
    second = _table(("hop, frames", "later by up to", *_HEAD), [*hops, truth])
    return "\n\n".join([first, second, fill(about, width=110)])


def plain(curve: Curve, spec: LifterSpec) -> dict[str, Any]:
    """The curve as JSON has it."""
    rows = {name: [row._asdict() for row in getattr(curve, name)] for name in ("lags", "hops")}
    return {"weights": spec.name, "sha256": spec.sha256, **curve._asdict(), **rows}


def check(output: Path | None, document: Path | None) -> None:
    """Refuse before the work what would fail after it."""
    if output is not None:
        writable_png(output)
    if document is not None:
        _parts(document)


def write_into(document: Path, text: str) -> None:
    """Replace what a document has between the marks of the lag curve."""
    before, after = _parts(document)
    document.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _parts(document: Path) -> tuple[str, str]:
    """What stands before and after the tables in a document."""
    try:
        old = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{document}: cannot be read: {error}") from None
    before, start, rest = old.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ConfigError(f"{document}: expected the lines {START} and {END}, between which the tables go")
    return before, after


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


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])
