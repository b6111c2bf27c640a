"""Commands of live lifting: demo, run, check, listen, view."""

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.arguments import ConfigArgument, NodeKeyOption, SecretKeyOption, require_choice
from stream.cli.output import print_line, print_status

app = typer.Typer()
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the config, e.g. --set sinks.zeromq.port=5600. Can be repeated.",
    ),
]
ViewOption = Annotated[
    bool, typer.Option("--view", help="Show the poses in the browser; prints the address of the page.")
]
VIEW_CHANGES = ("lifter.kp2d=true", "sinks.browser.type=browser")
DEMO_VIEW_CHANGES = (*VIEW_CHANGES, "sources.walk.loop=true")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The GIF file to write.")] = Path(
        "poselift-demo.gif"
    ),
    view: ViewOption = False,
) -> None:
    """Lift a packaged recording live and draw the poses.

    A second process receives the poses and the command draws them as an animated GIF. Needs no camera,
    network or broker. Takes about 20 seconds; with --view the recording repeats until Ctrl-C.
    """
    from stream.cli.demo import demo

    demo(output, DEMO_VIEW_CHANGES if view else ())


@app.command()
def run(
    config: ConfigArgument,
    changes: Changes = None,
    view: ViewOption = False,
    log: Annotated[
        str, typer.Option(help="Format of the log: text, or json for one line of JSON per record.")
    ] = "text",
) -> None:
    """Run a config: sources in, 3D poses out.

    Reads the sources, lifts keypoints to 3D poses and publishes them through the sinks, until the sources end
    or Ctrl-C. `poselift check CONFIG` prints every setting of a config; `poselift listen` prints the
    published poses. With --log json everything is logged to stderr. SIGHUP reads the config again and opens
    and closes the sources that have changed.
    """
    from functools import partial

    from stream.cli.json_log import log_as_json, log_line
    from stream.config.load import load
    from stream.runtime.service import run

    require_choice("--log", log, ("text", "json"))
    if log == "json":
        log_as_json()
    load_config = partial(load, config, (*(VIEW_CHANGES if view else ()), *(changes or ())))
    run(load_config(), log_line if log == "json" else print_status, reload=load_config)


@app.command()
def check(config: ConfigArgument, changes: Changes = None) -> None:
    """Check a config and print all its settings.

    Default values are filled in. Nothing is run. Exits with code 2 and an error message when a setting is
    wrong. docs/configuration.md explains the settings.
    """
    import yaml

    from stream.config.load import load
    from stream.runtime.pipeline import Pipeline

    resolved = load(config, changes or ())
    Pipeline(resolved)  # finds mistakes between sections, such as a lag longer than the lifter's window
    print_line(yaml.safe_dump(resolved.to_dict(), sort_keys=False).rstrip())


@app.command()
def listen(
    endpoint: Annotated[
        str, typer.Argument(help="ZeroMQ address at which a `poselift run` publishes.")
    ] = "tcp://127.0.0.1:5555",
    source: Annotated[str | None, typer.Option(help="Receive the poses of this source only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every message as one line of JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .jsonl or .npz file to record the poses to.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Stop after so many seconds; default: at Ctrl-C.")
    ] = None,
    key: SecretKeyOption = None,
    node_key: NodeKeyOption = None,
    prefix: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print rate and age of published poses.

    Subscribes to a `poselift run` and prints a line every second until Ctrl-C. A node with CURVE needs --key
    and --node-key; `poselift keys` makes them.
    """
    from stream.cli.listen import listen
    from stream.security import client_keys

    keys = client_keys(key, node_key)
    listen(endpoint, source, as_json=as_json, output=output, seconds=seconds, prefix=prefix, keys=keys)


@app.command()
def view(
    target: Annotated[
        str, typer.Argument(help="ZeroMQ address of a `poselift run`, or a .npz, .jsonl or .mcap file.")
    ] = "tcp://127.0.0.1:5555",
    source: Annotated[str | None, typer.Option(help="Show this source only.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to serve the page on; other than loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the page; 0 picks a free one.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(envvar="POSELIFT_VIEW_TOKEN", help="Secret that browsers must send to connect."),
    ] = None,
    key: SecretKeyOption = None,
    node_key: NodeKeyOption = None,
) -> None:
    """Show published or recorded poses in the browser.

    Prints the address of the page and serves it until Ctrl-C. A recording is played again and again.
    """
    from sinks.browser import Browser
    from stream.cli.view import view
    from stream.security import client_keys

    view(target, source, Browser.Settings(host=host, port=port, token=token), client_keys(key, node_key))
