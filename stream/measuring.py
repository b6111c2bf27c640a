"""Commands that measure a lifter on data with a known truth: errors, and what waiting is worth."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from stream.errors import ConfigError

app = typer.Typer()
Weights = Annotated[str, typer.Argument(help="Packaged weights (`poselift models`) or a file.")]
Data = Annotated[
    Path, typer.Option(help="A dataset's folder, MotionBERT's pickle or folder of clips, or an .npz.")
]
Clean = Annotated[bool, typer.Option("--clean", help="Show motion capture without a detector's errors.")]


@app.command()
def evaluate(
    weights: Weights,
    data: Data,
    reading: Annotated[
        str, typer.Option(help="seq2seq (all frames), seq2frame (the centre), live (the newest).")
    ] = "seq2seq",
    clean: Clean = False,
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirrored input's answer.")] = False,
    every: Annotated[int, typer.Option(help="Take each so-many-th sequence only.")] = 1,
    aggregate: Annotated[
        str,
        typer.Option(help="D3DP's hypotheses: mean (P-Agg), jpma (J-Agg); with the truth: p-best, j-best."),
    ] = "mean",
) -> None:
    """Score weights on data with a known truth: a row per action, all metrics. See docs/training.md."""
    from lifter.training.score import score

    one_of("--reading", reading, ("seq2seq", "seq2frame", "live"))
    one_of("--aggregate", aggregate, ("mean", "jpma", "p-best", "j-best"))
    if flip and aggregate != "mean":
        raise ConfigError("--flip and --aggregate exclude each other: D3DP mirrors its hypotheses itself")
    seen: Any = "clean" if clean else "detector"
    answer = "flip" if flip else aggregate
    table = score(weights, data, cast(Any, reading), seen, every, cast(Any, answer))
    print(table.text() if aggregate == "mean" else f"{table.text()}\nhypotheses: {aggregate}")


@app.command("lag-curve")
def lag_curve(
    weights: Weights,
    data: Data,
    output: Annotated[Path | None, typer.Option("--out", help="The PNG to draw the curve to.")] = None,
    page: Annotated[
        Path | None, typer.Option("--markdown", help="The document whose tables are to be replaced.")
    ] = None,
    lags: Annotated[str | None, typer.Option(help="Frames of look-ahead, e.g. 0,8,121.")] = None,
    hops: Annotated[str | None, typer.Option(help="Frames between passes, e.g. 1,5.")] = None,
    clips: Annotated[int, typer.Option(help="Clips, spread evenly over those long enough.")] = 40,
    frames: Annotated[int, typer.Option(help="Successive frames scored of each clip.")] = 80,
    blend: Annotated[
        int | None, typer.Option(help="Frames over which passes blend; default: as `lifter.blend` auto.")
    ] = None,
    clean: Clean = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Measure what waiting is worth: error, velocity error, jitter against look-ahead and hop, as live."""
    import lifter
    from lifter.training import document, lag_report, score
    from lifter.training.lag_curve import Settings, measure

    lag_report.check(output, page)
    runner = lifter.load(weights)
    settings = Settings(
        None if lags is None else numbers("--lags", lags),
        None if hops is None else numbers("--hops", hops),
        blend,
    )
    videos = score.sequences(data, "clean" if clean else "detector")
    with _progress("clips") as progress:
        curve = measure(runner, videos, settings, clips, frames, progress)
    text = lag_report.tables(curve, runner.spec, data.name)
    if output:
        lag_report.plot(curve, runner.spec, output)
    if page:
        document.put(page, lag_report.PLACE, text)
    print(json.dumps(lag_report.plain(curve, runner.spec)) if as_json else text)


@app.command()
def report(
    weights: Weights,
    data: Annotated[Path, typer.Option(help="A folder with motion_test.npz and motion_train.npz.")],
    output: Annotated[Path, typer.Option("--out", help="The Markdown document; a PNG goes beside it.")],
    benchmark: Annotated[Path | None, typer.Option(help="A folder of real videos with their truth.")] = None,
    beside: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Other weights to set beside these.")
    ] = None,
    card: Annotated[Path | None, typer.Option(help="A model card that quotes the first tables.")] = None,
    brief: Annotated[bool, typer.Option("--brief", help="Nothing of what disturbs it.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Few clips, to see that it works.")] = False,
) -> None:
    """Measure everything that is said of a lifter and write it into documents. See docs/training.md."""
    from stream.reporting import Order, report

    extent: Any = "quick" if quick else "brief" if brief else "full"
    report(Order(weights, data, output, benchmark, tuple(beside or ()), card, extent))


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar beside the output, told how many are done, of how many."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    """Raise ConfigError unless the word `given` for `what` is a known one."""
    if given not in known:
        raise ConfigError(f"{what}: expected one of {', '.join(known)}, got {given!r}")


def numbers(what: str, text: str) -> tuple[int, ...]:
    """Whole numbers typed with commas between."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{what}: expected whole numbers such as 121,81, got {text!r}") from None
