"""The `poselift` command: puts the subcommands together and turns errors into exit codes."""

import logging
import sys

try:
    import typer
except ImportError:
    sys.exit(
        "The poselift command needs more than a subscriber does: pip install 'poselift[all]'\n"
        "(`from stream import subscribe` works without it.)"
    )

from stream.cli import files, live, measure, models, research
from stream.errors import ConfigError, PoseliftError

app = typer.Typer(
    name="poselift",
    help="Live 3D human poses from any camera, for robots and animation tools.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for commands in (live, files, models, measure, research):
    app.registered_commands += commands.app.registered_commands


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
