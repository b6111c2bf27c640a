"""Commands for research: count FLOPs, import released checkpoints, train."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.arguments import (
    At,
    JsonOption,
    Keep,
    Pruner,
    Recoverer,
    output_option,
    parse_schedule,
    parse_settings,
    require_choice,
)
from stream.config.load import CONFIGS
from stream.errors import ConfigError

app = typer.Typer()


@app.command()
def flops(
    arch: Annotated[
        str | None,
        typer.Argument(help="mixste, mhformer, motionbert, motionagformer, d3dp or diffpose."),
    ] = None,
    keep: Keep = None,
    at: At = None,
    pruner: Pruner = "tps",
    recoverer: Recoverer = "tri",
    frames: Annotated[
        int | None, typer.Option(help="Frames of the window; default: as in the paper.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Print a row per block.")] = False,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="Print every row of the paper's tables (of ARCH, if given) beside our count."
        ),
    ] = False,
    live: Annotated[
        int | None,
        typer.Option(
            metavar="HOP",
            help="Count one update of a live stream with HOP new frames, after each saving of work.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count parameters and FLOPs.

    Counts FLOPs by the rule of the papers and for all matrix products.
    """
    from lifter.paper import flops
    from lifter.samples import full_size_spec

    if paper:
        return _paper(arch, as_json)
    if arch is None:
        raise ConfigError("flops: expected an architecture, such as mixste, or --paper")
    spec = full_size_spec(arch, frames, parse_schedule(keep, at, pruner, recoverer))
    counts = flops.count(spec) if live is None else flops.count_live_update(spec, live)
    rows = table or live is not None
    shown = counts if rows else counts[:1]
    if as_json:
        print(json.dumps([count._asdict() for count in shown] if rows else counts[0]._asdict()))
        return
    print(f"{'part':<28}{'parameters M':>14}{'GFLOPs (paper)':>16}{'GFLOPs (all)':>14}")
    for count in shown:
        print(
            f"{count.part:<28}{count.parameters / 1e6:>14.2f}{count.paper_flops / 1e9:>16.2f}"
            f"{count.all_flops / 1e9:>14.2f}"
        )


def _paper(arch: str | None, as_json: bool) -> None:
    """Print every row of the paper's tables, or those of one architecture, beside our own count."""
    from lifter.paper import tables as paper

    if arch is not None:
        require_choice("ARCH", arch, tuple(dict.fromkeys(row.arch for row in paper.ROWS)))
    counted = ((row, row.count()) for row in paper.ROWS if arch in (None, row.arch))
    fields = ("table", "model", "parameters_m", "our_parameters_m", "gflops", "our_gflops", "mpjpe_mm")
    rows = (
        (
            row.table, row.name, row.parameters_m, round(ours.parameters / 1e6, 2),
            row.gflops, round(ours.paper_flops / 1e9, 2), row.mpjpe_mm,
        )
        for row, ours in counted
    )  # fmt: skip
    if as_json:
        print(json.dumps([dict(zip(fields, row, strict=True)) for row in rows]))
        return
    print(f"{'table':<7}{'model':<57}{'parameters M':>14}{'ours':>8}{'GFLOPs':>9}{'ours':>8}{'MPJPE mm':>10}")
    for table, model, parameters, ours, gflops, our_gflops, mpjpe in rows:
        print(
            f"{table:<7}{model:<57}{parameters:>14.2f}{ours:>8.2f}{gflops:>9.2f}{our_gflops:>8.2f}{mpjpe:>10.1f}"
        )


@app.command("import-weights")
def import_weights(
    arch: Annotated[
        str,
        typer.Argument(
            help="Released model: mixste, hot_mixste, motionbert, d3dp, ... (a wrong name lists all)."
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The released checkpoint file.")],
    output: Annotated[
        Path | None,
        output_option("The .safetensors file to write; default: FILE with that ending."),
    ] = None,
    keep: Keep = None,
    at: At = None,
    pruner: Pruner = "tps",
    recoverer: Recoverer = "tri",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of the model that the checkpoint does not contain, e.g. --set num_heads=8.",
        ),
    ] = None,
) -> None:
    """Convert a released checkpoint.

    Writes a .safetensors file. Every tensor must fit; code in the checkpoint is never run. --keep and --at
    add pruning to weights released without it; --recoverer centre makes a lifter of the centre frame.
    """
    from lifter.checkpoints.convert import import_weights

    output = output or Path(f"{file.stem}.safetensors")
    if output.suffix != ".safetensors":
        raise ConfigError(f"{output}: expected an output ending in .safetensors")
    schedule = parse_schedule(keep, at, pruner, recoverer)
    spec = import_weights(arch, file, output, schedule, **parse_settings(settings or []))
    print(f"{output}: {spec.arch}, {spec.frames} frames, {spec.output}, sha256 {spec.sha256[:12]}")


@app.command()
def train(
    config: Annotated[
        str,
        typer.Argument(
            help="A recipe: FILE.yaml, FILE.yaml:ROW, or the name of a packaged one, e.g. train/small.yaml."
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder of the data files that the recipe names.")] = Path("."),
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe. Can be repeated."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Run two small steps and a test on synthetic data of the same layout."
        ),
    ] = False,
) -> None:
    """Train a lifter.

    The same command resumes a training that was stopped. docs/training.md describes data and recipes. For
    several GPUs: torchrun --nproc-per-node N -m stream.cli train ...
    """
    from lifter.training.train import train

    weights = train(_recipe(config), data, changes or (), dry_run)
    if os.environ.get("RANK", "0") != "0":  # of torchrun
        return
    print(
        "dry run passed: the recipe starts, trains two steps and evaluates"
        if dry_run
        else f"weights: {weights}"
    )


def _recipe(config: str) -> str:
    """Path of a recipe, with its `:ROW`: a file, or a packaged recipe such as train/small.yaml."""
    file, colon, row = config.partition(":")
    for path in (Path(file), CONFIGS / file, CONFIGS / file.removeprefix("configs/")):
        if path.is_file():
            return f"{path}{colon}{row}"
    packaged = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob("*/*.yaml"))
    raise ConfigError(f"{file}: no such recipe; packaged recipes: {', '.join(packaged)}")
