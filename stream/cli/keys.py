"""`poselift keys`: makes the CURVE keys of a node and of its clients."""

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.output import print_line
from stream.config.load import check_name
from stream.errors import ConfigError, PoseliftError

app = typer.Typer()


@app.command()
def keys(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; made when it does not exist.")],
    client: Annotated[
        list[str] | None,
        typer.Option(help="Name of a client that may connect. Can be repeated; default: client."),
    ] = None,
) -> None:
    """Make CURVE keys, which encrypt ZeroMQ and admit listed clients alone.

    Writes node.key_secret and node.key, and for every client NAME.key_secret and clients/NAME.key. Files
    that exist are kept, so that a second call adds clients. Give a client its NAME.key_secret and node.key.
    """
    names = [check_name(name, "--client") for name in client or ["client"]]
    if "node" in names:
        raise ConfigError("--client: 'node' names the keys of the node; choose another name")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "clients").mkdir(exist_ok=True)
        _make(folder / "node.key_secret", folder / "node.key")
        for name in names:
            _make(folder / f"{name}.key_secret", folder / "clients" / f"{name}.key")
    except OSError as error:
        raise PoseliftError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
    for line in _explanation(folder, names[0]):
        print_line(line)


def _make(secret_file: Path, public_file: Path) -> None:
    from stream.security import make_keys

    if secret_file.exists() and public_file.exists():
        print_line(f"{secret_file}: exists, kept")
        return
    make_keys(secret_file, public_file)
    print_line(f"{secret_file}: new")


def _explanation(folder: Path, client: str) -> list[str]:
    return [
        "In the config of the node:",
        f"  curve_secret_file: {folder / 'node.key_secret'}",
        f"  curve_clients_folder: {folder / 'clients'}",
        "At the client, with copies of these two files:",
        f"  poselift listen --key {client}.key_secret --node-key node.key tcp://HOST:PORT",
        "Every .key_secret belongs to one machine: move it there and delete it here.",
    ]
