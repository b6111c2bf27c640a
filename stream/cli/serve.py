"""Command serve-lifter: one lifter for the pipelines of many processes."""

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.arguments import ConfigArgument
from stream.cli.live import Changes
from stream.cli.output import print_line

app = typer.Typer()


@app.command()
def serve_lifter(
    config: ConfigArgument,
    changes: Changes = None,
    host: Annotated[str, typer.Option(help="Address of the network interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 picks a free one.")] = 5560,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Secret CURVE key of the service (.key_secret)."),
    ] = None,
    clients: Annotated[
        Path | None,
        typer.Option("--clients", metavar="FOLDER", help="Public keys (.key) of the nodes that may connect."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen without CURVE on an address other machines can reach.")
    ] = False,
) -> None:
    """Lift the windows of many pipelines on one model.

    Loads the weights of section `lifter` of the config and serves every pipeline whose `lifter.endpoint` is
    this address and whose weights are the same, until Ctrl-C. Sources and sinks of the config are not opened.
    """
    from stream.config.load import load
    from stream.runtime.lifter_service import ServiceSettings
    from stream.runtime.serve_lifter import serve_lifter

    settings = ServiceSettings(
        host=host,
        port=port,
        curve_secret_file=None if key is None else str(key),
        curve_clients_folder=None if clients is None else str(clients),
        insecure=insecure,
    )
    serve_lifter(load(config, changes or ()), settings, print_line)
