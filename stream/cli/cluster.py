"""Commands of a cluster: up, run, status, drain, down."""

from typing import Annotated

import typer

from stream.cli.arguments import ConfigArgument
from stream.cli.live import Changes
from stream.cli.output import print_line

app = typer.Typer(
    name="cluster", help="Run the workers of a config on many machines, with Ray.", no_args_is_help=True
)


@app.command()
def up(
    config: ConfigArgument,
    changes: Changes = None,
    head: Annotated[
        bool, typer.Option("--head", help="Start the head of a new cluster; else join that of the config.")
    ] = False,
    near: Annotated[str | None, typer.Option(help="Label of this machine's place, for cluster.near.")] = None,
    cpus: Annotated[float | None, typer.Option(help="CPUs that workers may use here; default: all.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs that workers may use here; default: all.")] = None,
) -> None:
    """Make this machine part of the cluster.

    Starts Ray in the background, without its dashboard and telemetry. The first machine needs --head; the
    others join `cluster.address`.
    """
    from stream.cluster.machine import start
    from stream.config.load import load

    start(load(config, changes or ()).cluster, head, near, cpus, gpus)


@app.command()
def run(config: ConfigArgument, changes: Changes = None) -> None:
    """Run a config with its workers on the machines of the cluster.

    This machine, which must be part of the cluster, supervises the workers and publishes the poses, until
    Ctrl-C. SIGHUP reads the config again and opens and closes the sources that have changed.
    """
    from functools import partial

    from stream.cluster.service import run_cluster
    from stream.config.load import load

    load_config = partial(load, config, changes or ())
    run_cluster(load_config(), print_line, reload=load_config)


@app.command()
def status(config: ConfigArgument, changes: Changes = None) -> None:
    """Print the machines, the workers and the health of a running cluster."""
    from stream.cluster.service import status_lines
    from stream.config.load import load

    for line in status_lines(load(config, changes or ())):
        print_line(line)


@app.command()
def drain(
    config: ConfigArgument,
    machine: Annotated[str, typer.Argument(help="Address of the machine, or how its id begins.")],
    changes: Changes = None,
    back: Annotated[bool, typer.Option("--back", help="Use the machine again.")] = False,
) -> None:
    """Move all workers away from a machine, one after the other, before maintenance.

    Returns at once; `poselift cluster status` shows where the workers are.
    """
    from stream.cluster.service import empty_machine
    from stream.config.load import load

    node = empty_machine(load(config, changes or ()), machine, not back)
    print_line(f"{node}: {'gets workers again' if back else 'its workers move away'}")


@app.command()
def down() -> None:
    """Take this machine out of the cluster: end Ray here, with all its workers."""
    from stream.cluster.machine import stop

    stop()
