"""The command that measures how fast a lifter is here, and finds what computes it fastest."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

app = typer.Typer()


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
    from lifter.bench import bench
    from lifter.contest import Plan
    from lifter.tune import tune as tuned

    plan = Plan(
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
