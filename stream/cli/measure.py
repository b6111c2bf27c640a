"""Commands that measure a lifter on data with a known truth: errors, and what waiting is worth."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer

from stream.cli.output import print_line
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
    from lifter.evaluation.score import score

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
    from lifter.evaluation import score
    from lifter.evaluation.lag_curve import LagCurveSettings, measure_lag_curve
    from lifter.reports import lag_curve_page, markdown

    lag_curve_page.check_outputs(output, page)
    runner = lifter.load(weights)
    settings = LagCurveSettings(
        None if lags is None else numbers("--lags", lags),
        None if hops is None else numbers("--hops", hops),
        blend,
    )
    videos = score.sequences(data, "clean" if clean else "detector")
    with _progress("clips") as progress:
        curve = measure_lag_curve(runner, videos, settings, clips, frames, progress)
    text = lag_curve_page.tables(curve, runner.spec, data.name)
    if output:
        lag_curve_page.plot(curve, runner.spec, output)
    if page:
        markdown.write_section(page, lag_curve_page.SECTION, text)
    print(json.dumps(lag_curve_page.to_json(curve, runner.spec)) if as_json else text)


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
    from stream.reports.report import ReportRequest, report

    extent: Any = "quick" if quick else "brief" if brief else "full"
    report(ReportRequest(weights, data, output, benchmark, tuple(beside or ()), card, extent), print_line)


@app.command()
def bench(
    weights: Annotated[str, typer.Argument(help="Packaged weights (`poselift models`) or a file.")] = "small",
    arch: Annotated[
        str | None, typer.Option(help="An architecture instead: full size, random weights, e.g. mixste.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(help="Of the CPU; default: half of the cores, as live.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="auto, eager, onednn, compile, onnx, openvino, graphs.")
    ] = "auto",
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure every engine; `lifter.engine: auto` takes the fastest.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="About how long each figure is measured.")] = 3.0,
    quick: Annotated[bool, typer.Option("--quick", help="Only see that all of it runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON, no table.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Keep the JSON in this file.")] = None,
) -> None:
    """Measure a lifter on this machine: a table, then one line of JSON.

    Beside it the same in plain torch, HoT and the unpruned model, and what matrix products reach here.
    """
    from lifter.bench.benchmark import bench
    from lifter.bench.candidates import BenchPlan
    from lifter.bench.tune import tune as tuned

    plan = BenchPlan(
        model=arch or weights, device=device, dtype=dtype, threads=threads, engine=engine, seconds=seconds
    )
    if quick:
        plan = plan.shortened()
    found = (tuned if tune else bench)(plan)
    if not as_json:
        for line in _engines(found) if tune else _table(found):
            print(line)
    print(json.dumps(found))
    if output is not None:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


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


def _head(found: dict[str, Any]) -> str:
    from lifter.machine import Machine

    where = msgspec.convert(found["machine"], Machine).text()
    return f"{found['model']} on {where}; {found['threads']} threads"


def _table(found: dict[str, Any]) -> Iterable[str]:
    yield _head(found)
    changed = found["changed_mm"]
    yield (
        f"engine {found['engine']}, ready after {found['ready_s']} s, joints moved by "
        f"{changed['mean']} mm (at most {changed['max']}) against plain torch in float32"
    )
    columns = "".join(f"{name:>10}" for name in ("p50 ms", "p95", "p99", "busy ms", "windows/s", "GFLOP/s"))
    yield f"\n{'variant':<38}{'batch':>6}{columns}{'of peak':>9}{'speed':>8}"
    for row in found["rows"]:
        speed = f"{row['gflops']:>10.0f}{row['of_peak']:>9.0%}" if "gflops" in row else f"{'-':>10}{'-':>9}"
        times = "".join(f"{row[name]:>10.2f}" for name in ("p50_ms", "p95_ms", "p99_ms", "busy_ms"))
        faster = f"{row['speed']:>7.2f}x" if "speed" in row else f"{'-':>8}"
        yield f"{row['variant']:<38}{row['batch']:>6}{times}{row['windows_per_s']:>10.2f}{speed}{faster}"
    yield f"\n{'stage, batch 1':<38}{'':>6}{'p50 ms':>10}{'p95':>10}{'p99':>10}"
    for stage, times in found["stages_ms"].items():
        yield f"{stage:<38}{'':>6}{times['p50']:>10.2f}{times['p95']:>10.2f}{times['p99']:>10.2f}"
    columns = "".join(f"{name:>10}" for name in ("p50 ms", "p95", "p99", "updates/s", "frames/s", "people*"))
    yield f"\n{'live, one person at 50 Hz':<38}{'hop':>6}{columns}"
    for row in found["live"]:
        times = "".join(f"{row['update_ms'][p]:>10.2f}" for p in ("p50", "p95", "p99"))
        speeds = f"{row['updates_per_s']:>10.1f}{row['frames_per_s']:>10.1f}{row['people_simulated']:>10}"
        yield f"{'':<38}{row['hop']:>6}{times}{speeds}"
    yield "* until p99 of an update's age passes 100 ms: a simulation with these times"
    yield f"\nframes/s of a file: {found['offline_frames_per_s']:g}"
    yield f"matrix products, GFLOP/s: {_pairs(found['peak_gflops'])}"
    yield f"memory, MiB: {_pairs(found['memory_mib'])}"


def _engines(found: dict[str, Any]) -> Iterable[str]:
    yield _head(found)
    yield f"\n{'engine':<12}{'ms/window':>11}{'ready s':>9}{'moved mm':>10}"
    for engine, row in found["engines"].items():
        if "ms" in row:
            yield f"{engine:<12}{row['ms']:>11.2f}{row['ready_s']:>9.1f}{row['changed_mm']['mean']:>10.4f}"
        else:
            yield f"{engine:<12}{row['why_not']}"
    yield f"\nlifter.engine: auto is {found['chosen']} for these weights from now on"


def _pairs(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
