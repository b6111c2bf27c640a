"""The `poselift` command: every subcommand is a few lines that call the part that does the work."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

try:
    import typer
    from rich.console import Console
except ImportError:
    sys.exit(
        "The poselift command needs more than a subscriber does: pip install 'poselift[all]'\n"
        "(`from stream import subscribe` works without it.)"
    )

from stream import benching, research
from stream.errors import ConfigError, PoseliftError
from stream.terminal import say

app = typer.Typer(
    name="poselift",
    help="Live 3D human poses from any camera, for robots and animation tools.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. --set sinks.zeromq.port=5600."),
]


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture to write.")] = Path(
        "poselift-demo.gif"
    ),
) -> None:
    """Lift a packaged recording live, subscribe from a second process, draw what arrived.

    Needs no camera, no network, no broker; takes about 20 seconds.
    """
    from stream.demo import demo

    demo(output, say)


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or a packaged config such as webcam.")],
    changes: Changes = None,
) -> None:
    """Run the daemon: sources in, 3D poses out, until the sources end or Ctrl-C.

    `poselift check CONFIG` shows what a config means; `poselift listen` shows what comes out.
    """
    from stream.config import load
    from stream.daemon import run

    run(load(config, changes or ()), say)


@app.command()
def check(
    config: Annotated[str, typer.Argument(help="A YAML file, or a packaged config such as webcam.")],
    changes: Changes = None,
) -> None:
    """Print a config in full, defaults included, or say what is wrong with it."""
    import yaml

    from stream.config import load
    from stream.pipeline import Pipeline

    resolved = load(config, changes or ())
    Pipeline(resolved)  # finds what only shows when the parts are put together
    say(yaml.safe_dump(resolved.plain(), sort_keys=False).rstrip())


@app.command()
def listen(
    endpoint: Annotated[str, typer.Argument(help="Where a daemon publishes.")] = "tcp://127.0.0.1:5555",
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every message as a line of JSON.")] = False,
    record: Annotated[Path | None, typer.Option(help="Write the poses to this .jsonl or .npz file.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after this long.")] = None,
    prefix: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Subscribe to a daemon and print rate, age and persons every second, until Ctrl-C."""
    from stream.listening import listen

    listen(endpoint, source=source, as_json=as_json, record=record, seconds=seconds, prefix=prefix)


@app.command()
def lift(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A video, a folder of images, or 2D keypoints.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .npz or .jsonl file to write.")],
    weights: Annotated[str, typer.Option(help="Packaged weights (`poselift models`) or a file.")] = "small",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of the input, e.g. --set source.fps=50, or any other.",
        ),
    ] = None,
) -> None:
    """Lift a whole file, with context before and after every frame.

    INPUT: a video, a folder of images, or keypoints (.jsonl, .npz, .npy).
    """
    from rich.progress import MofNCompleteColumn, Progress

    from stream.offline import config_for, count, lift

    config = config_for(source, output, {"weights": weights, "device": device}, changes or ())
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with _only_warnings(), Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("lifting", total=count(source))
        frames = lift(config, lambda done: bar.update(task, completed=done))
        bar.update(task, total=frames)
    say(f"{frames} frames lifted to {output}")


@app.command()
def models(
    fetch: Annotated[
        str | None,
        typer.Option(help="Get this detector model (lite, full, heavy) ahead of time.", metavar="VARIANT"),
    ] = None,
) -> None:
    """List the lifters' weights and the detector's models; --fetch gets a detector model now."""
    from stream.catalogue import fetch_detector, rows

    if fetch is not None:
        fetch_detector(fetch, say)
    for row in rows():
        say(row)


@app.command()
def calibrate(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video or a folder of images.")],
    board: Annotated[
        str, typer.Option(help="chessboard:9x6:25mm (inner corners) or charuco:5x7:40mm:30mm (squares).")
    ],
    name: Annotated[str, typer.Option(help="The source of your config that this camera is.")] = "cam0",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .yaml file to write.")] = None,
) -> None:
    """Find a camera's intrinsics from views of a printed board, as lines for your config.

    Ten views and more: sharp, the board large, near the borders too, tilted by 30 degrees in all directions.
    """
    from stream.board import Board
    from stream.calibrate import as_yaml, calibrate, images

    found = calibrate(images(source), Board.parse(board))
    lines = as_yaml(found.camera, name)
    if output is not None:
        output.write_text(lines, encoding="utf-8")
    say(
        f"# {found.views} views of {found.images} images, reprojection error {found.error_px:.2f} px, "
        f"focal length {found.camera.fx:.1f} ± {found.focal_sd_px:.1f} px"
    )
    say(lines.rstrip())


app.registered_commands += research.app.registered_commands + benching.app.registered_commands


@contextmanager
def _only_warnings() -> Iterator[None]:
    """Beside a progress bar, the log has nothing more to say about what goes well."""
    log = logging.getLogger("poselift")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exits 0 when done, 2 when a person must edit something, 1 for anything else."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        app(args=arguments, prog_name="poselift")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except PoseliftError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
