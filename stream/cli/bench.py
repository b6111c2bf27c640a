"""The command that measures a lifter's speed on this machine, and the tables that it prints."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

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
    output_option,
    parse_schedule,
)
from stream.cli.output import progress_bar

app = typer.Typer()


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
    output: Annotated[Path | None, output_option("A .json file to write the result to.")] = None,
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
        with progress_bar("rows") as report_progress:
            result, lines = bench_paper_table(paper, plan, data, report_progress), _paper_lines
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
    yield f"{'model':<52}" + "".join(f"{name:>{len(name) + 2}}" for name in columns)
    for row in result["rows"]:
        values = {name: "-" if row.get(name) is None else f"{row[name]:g}" for name in columns}
        yield f"{row['model']:<52}" + "".join(f"{values[name]:>{len(name) + 2}}" for name in columns)


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
