"""Commands that measure a lifter: its errors on data with known 3D poses, and its speed on this machine."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer

from stream.cli.arguments import (
    At,
    DeviceOption,
    JsonOption,
    Keep,
    Pruner,
    Recoverer,
    WeightsArgument,
    parse_integers,
    parse_schedule,
    require_choice,
)
from stream.cli.output import print_line, progress_bar
from stream.errors import ConfigError

app = typer.Typer()
Data = Annotated[
    Path,
    typer.Option(
        help="Data with known 3D poses: the folder of a dataset (Human3.6M, MPI-INF-3DHP), MotionBERT's "
        "pickle or folder of clips, or an .npz of motion capture."
    ),
]
Clean = Annotated[
    bool, typer.Option("--clean", help="Project motion capture exactly, without simulated detector errors.")
]


@app.command()
def evaluate(
    weights: WeightsArgument,
    data: Data,
    reading: Annotated[
        str,
        typer.Option(
            help="Scored frames of a window: seq2seq (all), seq2frame (the centre), live (the newest)."
        ),
    ] = "seq2seq",
    clean: Clean = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average the poses with those of the mirrored input.")
    ] = False,
    every: Annotated[int, typer.Option(help="Score every Nth sequence only.", metavar="N")] = 1,
    aggregate: Annotated[
        str,
        typer.Option(
            help="How D3DP's hypotheses become one pose: mean (P-Agg), jpma (J-Agg); or the best by the true "
            "pose: p-best, j-best."
        ),
    ] = "mean",
    hypotheses: Annotated[
        int | None, typer.Option(help="Hypotheses of a diffusion lifter (H); default: its own.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps of a diffusion lifter (K); default: its own.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="paper (windows, root and joints as in the evaluation of the release) or ours (every frame "
            "once); default: paper for Human3.6M and MPI-INF-3DHP."
        ),
    ] = None,
    device: DeviceOption = "auto",
    detector: Annotated[
        str, typer.Option(help="Keypoints of Human3.6M: data_2d_h36m_DETECTOR.npz, such as gt.")
    ] = "cpn_ft_h36m_dbb",
    rate: Annotated[
        float | None,
        typer.Option(metavar="HZ", help="Frames per second of the videos; default: as trained."),
    ] = None,
) -> None:
    """Measure errors on data with known 3D poses.

    Prints a row per action and a column per metric. docs/training.md describes the data and the protocols.
    """
    from lifter.evaluation.score import ScoreSettings, score

    require_choice("--reading", reading, ("seq2seq", "seq2frame", "live"))
    require_choice("--aggregate", aggregate, ("mean", "jpma", "p-best", "j-best"))
    if flip and aggregate != "mean":
        raise ConfigError("--flip and --aggregate exclude each other: D3DP mirrors its hypotheses itself")
    if protocol is not None:
        require_choice("--protocol", protocol, ("paper", "ours"))
    settings = ScoreSettings(
        mode=cast(Any, reading),
        combination=cast(Any, "flip" if flip else aggregate),
        protocol=cast(Any, protocol),
        keypoint_errors="clean" if clean else "detector",
        detector=detector,
        rate_hz=rate,
        every=every,
        hypotheses=hypotheses,
        steps=steps,
        device=device,
    )
    table = score(weights, data, settings)
    print(table.text() if aggregate == "mean" else f"{table.text()}\nhypotheses: {aggregate}")


@app.command("lag-curve")
def lag_curve(
    weights: WeightsArgument,
    data: Data,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .png file to draw the curve to.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--markdown",
            help="A document whose tables between <!-- lag-curve --> and <!-- /lag-curve --> are replaced.",
        ),
    ] = None,
    lags: Annotated[str | None, typer.Option(help="Frames of look-ahead to measure, e.g. 0,8,121.")] = None,
    hops: Annotated[str | None, typer.Option(help="Frames between passes to measure, e.g. 1,5.")] = None,
    clips: Annotated[
        int, typer.Option(help="Number of clips, spread evenly over the long enough ones.")
    ] = 40,
    frames: Annotated[int, typer.Option(help="Successive frames of each clip to score.")] = 40,
    blend: Annotated[
        int | None,
        typer.Option(help="Frames over which successive passes are blended; default: lifter.blend auto."),
    ] = None,
    clean: Clean = False,
    as_json: JsonOption = False,
) -> None:
    """Measure latency against accuracy.

    Prints error, velocity error and jitter by look-ahead (lag) and hop. Poses are lifted and blended as in a
    live stream.
    """
    import lifter
    from lifter.evaluation import score
    from lifter.evaluation.lag_curve import LagCurveSettings, measure_lag_curve
    from lifter.reports import lag_curve_page, markdown

    lag_curve_page.check_outputs(output, page)
    runner = lifter.load(weights)
    settings = LagCurveSettings(
        None if lags is None else parse_integers("--lags", lags),
        None if hops is None else parse_integers("--hops", hops),
        blend,
    )
    videos = score.sequences(data, "clean" if clean else "detector")
    with progress_bar("clips") as report_progress:
        curve = measure_lag_curve(runner, videos, settings, clips, frames, report_progress)
    text = lag_curve_page.tables(curve, runner.spec, data.name)
    if output:
        lag_curve_page.plot(curve, runner.spec, output)
    if page:
        markdown.write_section(page, lag_curve_page.SECTION, text)
    print(json.dumps(lag_curve_page.to_json(curve, runner.spec)) if as_json else text)


@app.command()
def report(
    weights: WeightsArgument,
    data: Annotated[
        Path, typer.Option(help="A folder with motion_test.npz and motion_train.npz (docs/training.md).")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The Markdown document to write; a PNG is put beside it."),
    ],
    benchmark: Annotated[
        Path | None, typer.Option(help="A folder of videos with their measured 3D poses.")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Other weights to compare with. Can be repeated."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="A model card in which the first tables are replaced.")
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Leave out the tests of robustness against disturbed input.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use few clips, to check that the command works (a minute).")
    ] = False,
) -> None:
    """Measure accuracy and robustness in full.

    Writes all tables into a document and the first ones into a model card. docs/training.md describes the
    data.
    """
    from stream.reports.report import ReportRequest, report

    extent: Any = "quick" if quick else "brief" if brief else "full"
    report(ReportRequest(weights, data, output, benchmark, tuple(beside or ()), card, extent), print_line)


@app.command()
def bench(
    weights: WeightsArgument = "small",
    arch: Annotated[
        str | None,
        typer.Option(help="Measure this architecture in full size with random weights, e.g. mixste."),
    ] = None,
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(help="float32, tf32, bfloat16, float16.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; default: half of the cores, as in `poselift run`.")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Library that computes the network: auto, eager, onednn, compile, onnx, openvino, graphs."
        ),
    ] = "auto",
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Measure every engine and save the fastest, which `lifter.engine: auto` then uses."
        ),
    ] = False,
    keep: Keep = None,
    at: At = None,
    pruner: Pruner = "tps",
    recoverer: Recoverer = "tri",
    paper: Annotated[
        int | None,
        typer.Option(
            metavar="TABLE",
            help="Measure every row of this table of the paper (2, 3, 4, 8) beside the printed figures.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="For --paper 2: a folder with Human3.6M, for the frame noise.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Approximate measuring time per figure.")] = 3.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure each figure very briefly, to check that all run.")
    ] = False,
    as_json: JsonOption = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .json file to write the result to.")
    ] = None,
) -> None:
    """Measure a lifter's speed on this machine.

    Prints a table and one line of JSON. The table compares it with plain PyTorch, with HoT and with the
    unpruned model, and states the share of this machine's measured peak for matrix products.
    """
    from lifter.bench.benchmark import bench
    from lifter.bench.candidates import BenchPlan
    from lifter.bench.paper_table import bench_paper_table
    from lifter.bench.tune import tune as tune_engines

    plan = BenchPlan(
        model=arch or weights,
        device=device,
        dtype=dtype,
        threads=threads,
        engine=engine,
        seconds=seconds,
        schedule=parse_schedule(keep, at, pruner, recoverer),
    )
    if quick:
        plan = plan.shortened()
    if paper is not None:
        result, lines = bench_paper_table(paper, plan, data), _paper_lines
    else:
        result, lines = (tune_engines(plan), _tune_lines) if tune else (bench(plan), _bench_lines)
    if not as_json:
        for line in lines(result):
            print(line)
    print(json.dumps(result))
    if output is not None:
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _title(result: dict[str, Any]) -> str:
    from lifter.machine import Machine

    machine = msgspec.convert(result["machine"], Machine).text()
    return f"{result['model']} on {machine}; {result['threads']} threads"


def _bench_lines(result: dict[str, Any]) -> Iterable[str]:
    yield _title(result)
    changed = result["changed_mm"]
    yield (
        f"engine {result['engine']}, ready after {result['ready_s']} s, joints moved by "
        f"{changed['mean']} mm (at most {changed['max']}) against plain torch in float32"
    )
    columns = "".join(f"{name:>10}" for name in ("p50 ms", "p95", "p99", "busy ms", "windows/s", "GFLOP/s"))
    yield f"\n{'variant':<38}{'batch':>6}{columns}{'of peak':>9}{'speed':>8}"
    for row in result["rows"]:
        speed = f"{row['gflops']:>10.0f}{row['of_peak']:>9.0%}" if "gflops" in row else f"{'-':>10}{'-':>9}"
        times = "".join(f"{row[name]:>10.2f}" for name in ("p50_ms", "p95_ms", "p99_ms", "busy_ms"))
        faster = f"{row['speed']:>7.2f}x" if "speed" in row else f"{'-':>8}"
        yield f"{row['variant']:<38}{row['batch']:>6}{times}{row['windows_per_s']:>10.2f}{speed}{faster}"
    yield f"\n{'stage, batch 1':<38}{'':>6}{'p50 ms':>10}{'p95':>10}{'p99':>10}"
    for stage, times in result["stages_ms"].items():
        yield f"{stage:<38}{'':>6}{times['p50']:>10.2f}{times['p95']:>10.2f}{times['p99']:>10.2f}"
    columns = "".join(f"{name:>10}" for name in ("p50 ms", "p95", "p99", "updates/s", "frames/s", "people*"))
    yield f"\n{'live, one person at 50 Hz':<38}{'hop':>6}{columns}"
    for row in result["live"]:
        times = "".join(f"{row['update_ms'][p]:>10.2f}" for p in ("p50", "p95", "p99"))
        speeds = f"{row['updates_per_s']:>10.1f}{row['frames_per_s']:>10.1f}{row['people_simulated']:>10}"
        yield f"{'':<38}{row['hop']:>6}{times}{speeds}"
    yield "* people lifted at once before the p99 age of an update exceeds 100 ms; simulated from these times"
    yield f"\nframes/s of a file: {result['offline_frames_per_s']:g}"
    yield f"matrix products, GFLOP/s: {_pairs(result['peak_gflops'])}"
    yield f"memory, MiB: {_pairs(result['memory_mib'])}"


def _paper_lines(result: dict[str, Any]) -> Iterable[str]:
    from lifter.machine import Machine

    yield f"Table {result['table']} on {msgspec.convert(result['machine'], Machine).text()}"
    columns = list(dict.fromkeys(name for row in result["rows"] for name in row if name != "model"))
    yield f"{'model':<52}" + "".join(f"{name:>20}" for name in columns)
    for row in result["rows"]:
        values = ("-" if row.get(name) is None else f"{row[name]:g}" for name in columns)
        yield f"{row['model']:<52}" + "".join(f"{value:>20}" for value in values)


def _tune_lines(result: dict[str, Any]) -> Iterable[str]:
    yield _title(result)
    yield f"\n{'engine':<12}{'ms/window':>11}{'ready s':>9}{'moved mm':>10}"
    for engine, row in result["engines"].items():
        if "ms" in row:
            yield f"{engine:<12}{row['ms']:>11.2f}{row['ready_s']:>9.1f}{row['changed_mm']['mean']:>10.4f}"
        else:
            yield f"{engine:<12}{row['why_not']}"
    yield f"\nlifter.engine: auto uses {result['chosen']} for these weights on this machine from now on"


def _pairs(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
