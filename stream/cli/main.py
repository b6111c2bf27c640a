"""The `poselift` command: registers the subcommands and turns errors into exit codes."""

import logging
import sys

try:
    import typer
except ImportError:
    sys.exit(
        "The poselift command needs additional packages: pip install 'poselift[all]'\n"
        "(`from stream import subscribe` works without them.)"
    )

from stream.cli import bench, cluster, doctor, files, keys, live, measure, models, plot, research, serve
from stream.cli.json_log import logs_json
from stream.cli.output import open_missing_streams
from stream.cli.process_exit import end_process
from stream.errors import ConfigError, PoseliftError

app = typer.Typer(
    name="poselift",
    help="Live 3D human poses from any camera, for robots and animation tools. Start with `poselift demo`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for commands in (live, serve, files, keys, doctor, models, measure, bench, research, plot):
    app.registered_commands += commands.app.registered_commands
app.add_typer(cluster.app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command. Exit code 0: done; 2: a setting or an argument must be changed; 1: another failure."""
    open_missing_streams()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        _run(arguments)
    except SystemExit as ended:
        if arguments is None:
            end_process(ended)
        raise


def _run(arguments: list[str] | None) -> None:
    try:
        app(args=arguments, prog_name="poselift")
    except PoseliftError as error:
        if logs_json():
            logging.getLogger("poselift").error("%s", error)
        else:
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
