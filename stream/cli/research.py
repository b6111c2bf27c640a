"""Commands for researchers: costs, released checkpoints, training, figures (measures: `stream.measuring`)."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stream.cli.measure import numbers, one_of
from stream.config.load import CONFIGS
from stream.errors import ConfigError

app = typer.Typer()

Keep = Annotated[str | None, typer.Option(help="Frames kept by each stage of pruning, e.g. 121,81.")]
At = Annotated[str | None, typer.Option(help="The block each stage sits at, e.g. 0,3.")]
Pruner = Annotated[str, typer.Option(help="tps, tpc, tpa or tpmo.")]
Recoverer = Annotated[str, typer.Option(help="tri, tra, centre or none.")]


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
    frames: Annotated[int | None, typer.Option(help="Frames of the window; default: the paper's.")] = None,
    table: Annotated[bool, typer.Option("--table", help="A row per block.")] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="Every row of the paper's tables (or ARCH's), and ours.")
    ] = False,
    live: Annotated[
        int | None,
        typer.Option(metavar="HOP", help="What is left of one update of a stream with so many new frames."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Count parameters and FLOPs: by the papers' rule, and with every matrix product."""
    from lifter.paper import flops
    from lifter.samples import full_size_spec

    if paper:
        return _paper(arch, as_json)
    if arch is None:
        raise ConfigError("flops: expected an architecture, such as mixste, or --paper")
    spec = full_size_spec(arch, frames, _schedule(keep, at, pruner, recoverer))
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
    """Print every row of the paper's tables, or those of one architecture, beside what we count."""
    from lifter.paper import tables as paper

    if arch is not None:
        one_of("ARCH", arch, tuple(dict.fromkeys(row.arch for row in paper.ROWS)))
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
        str, typer.Argument(help="mixste, hot_mixste, motionbert, d3dp, ... (an unknown one lists all)")
    ],
    file: Annotated[Path, typer.Argument(help="The released checkpoint.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The .safetensors to write.")] = None,
    keep: Keep = None,
    at: At = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="The release's own settings, e.g. --set num_heads=8."
        ),
    ] = None,
) -> None:
    """Turn a released checkpoint into weights of ours, strictly, without running what is in it.

    --keep and --at add H2OT's pruning to weights that were released without.
    """
    from lifter.checkpoints.convert import import_weights

    output = output or Path(f"{file.stem}.safetensors")
    if output.suffix != ".safetensors":
        raise ConfigError(f"{output}: expected an output ending in .safetensors")
    schedule = _schedule(keep, at, "tps", "tri")
    spec = import_weights(arch, file, output, schedule, **_settings(settings or ()))
    print(f"{output}: {spec.arch}, {spec.frames} frames, {spec.output}, sha256 {spec.sha256[:12]}")


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A recipe, FILE.yaml or FILE.yaml:ROW, or a packaged one.")],
    data: Annotated[Path, typer.Option(help="The folder with the data the recipe names.")] = Path("."),
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Two small steps and a test on made-up data of the same layout.")
    ] = False,
) -> None:
    """Train a lifter; run again, it goes on where it stopped. docs/training.md has data and recipes.

    Several GPUs: torchrun --nproc-per-node N -m stream.cli train ...
    """
    from lifter.training.train import train

    weights = train(_recipe(config), data, changes or (), dry_run)
    print("it starts, steps and evaluates" if dry_run else f"weights: {weights}")


@app.command()
def plot(
    figure: Annotated[str, typer.Argument(help="selected (Figure 7) or lifted (Figure 10).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The PNG to write.")],
    keypoints: Annotated[
        Path | None, typer.Option(help="A recording of keypoints; default: the packaged one.")
    ] = None,
    model: Annotated[str, typer.Option(help="Weights, by name or file, or an architecture.")] = "small",
    windows: Annotated[int, typer.Option(help="selected: how many windows, one frame apart.")] = 140,
    keep: Keep = None,
    at: At = None,
) -> None:
    """Draw which frames each pruner keeps, or a lifted motion with the kept frames in red."""
    from lifter.paper import figures

    one_of("FIGURE", figure, ("selected", "lifted"))
    if figure == "selected":
        schedule = _schedule(keep, at, "tps", "tri")
        path = figures.draw_kept_frames(keypoints, output, model, windows=windows, schedule=schedule)
    else:
        path = figures.draw_lifted_motion(keypoints, output, model)
    print(path)


def _recipe(config: str) -> str:
    """The recipe meant: a file as given, else a packaged one such as train/small.yaml."""
    file, colon, row = config.partition(":")
    for path in (Path(file), CONFIGS / file, CONFIGS / file.removeprefix("configs/")):
        if path.is_file():
            return f"{path}{colon}{row}"
    packaged = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob("*/*.yaml"))
    raise ConfigError(f"{file}: no such recipe; packaged: {', '.join(packaged)}")


def _schedule(keep: str | None, at: str | None, pruner: str, recoverer: str) -> Any:
    from lifter.spec import Schedule

    if (keep is None) != (at is None):
        raise ConfigError("--keep and --at go together, e.g. --keep 121,81 --at 0,3")
    if keep is None or at is None:
        return None
    return Schedule(numbers("--keep", keep), numbers("--at", at), pruner, recoverer)


def _settings(pairs: list[str] | tuple[str, ...]) -> dict[str, Any]:
    from stream.files.strict_yaml import parse

    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: expected key=value")
        values[key] = parse(text, f"--set {pair}")
    return values
