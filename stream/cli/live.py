"""Commands of the live side: demo, run, check, listen."""

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.output import print_line

app = typer.Typer()
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
    from stream.cli.demo import demo

    demo(output, print_line)


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or a packaged config such as webcam.")],
    changes: Changes = None,
) -> None:
    """Run the daemon: sources in, 3D poses out, until the sources end or Ctrl-C.

    `poselift check CONFIG` shows what a config means; `poselift listen` shows what comes out.
    """
    from stream.config.load import load
    from stream.runtime.service import run

    run(load(config, changes or ()), print_line)


@app.command()
def check(
    config: Annotated[str, typer.Argument(help="A YAML file, or a packaged config such as webcam.")],
    changes: Changes = None,
) -> None:
    """Print a config in full, defaults included, or say what is wrong with it."""
    import yaml

    from stream.config.load import load
    from stream.runtime.pipeline import Pipeline

    resolved = load(config, changes or ())
    Pipeline(resolved)  # finds what only shows when the parts are put together
    print_line(yaml.safe_dump(resolved.to_dict(), sort_keys=False).rstrip())


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
    from stream.cli.listen import listen

    listen(endpoint, source=source, as_json=as_json, record=record, seconds=seconds, prefix=prefix)
