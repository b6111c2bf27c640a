"""`poselift repair`: completes recordings whose program was killed."""

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.output import print_line
from stream.errors import ConfigError, PoseliftError

app = typer.Typer()


@app.command()
def repair(
    recording: Annotated[Path, typer.Argument(help="A .mcap file, or the .jsonl journal of an .npz file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .mcap or .npz file to write.")],
) -> None:
    """Complete a recording that was cut off.

    Writes the index of a .mcap file anew, or makes the .npz file of a journal. The input is kept, and an
    existing output is not replaced.
    """
    kinds = recording.suffix, output.suffix
    if kinds not in ((".mcap", ".mcap"), (".jsonl", ".npz")):
        raise ConfigError(f"repair: expected a .mcap from a .mcap, or an .npz from a .jsonl, got {kinds}")
    if output.exists():
        raise ConfigError(f"{output}: exists and would be replaced; choose another output")
    try:
        count = _complete(recording, output)
    except OSError as error:
        raise PoseliftError(f"{output}: cannot be written: {error.strerror}") from None
    print_line(f"{count} {'messages' if output.suffix == '.mcap' else 'frames'} in {output}")


def _complete(recording: Path, output: Path) -> int:
    from stream.files import mcap, poses

    if recording.suffix == ".mcap":
        return mcap.repair(recording, output)
    table = poses.PoseTable()
    for frame in poses.read(recording):
        if not table.fits(frame):
            raise ConfigError(f"{recording}: expected poses with one number of joints")
        table.add(frame)
    table.write(output)
    return len(table)
