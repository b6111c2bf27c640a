"""Commands that work on files: lift a recording or a video, calibrate a camera."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from sources.images import ImageFolder
from sources.opencv import OpenCV
from stream.cameras.intrinsics import Camera
from stream.cli.output import print_line
from stream.errors import EndOfStream
from stream.messages import U8
from stream.protocols import ComponentContext, opened

_EVERY_S = 0.2  # of a video is looked at

app = typer.Typer()


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

    from stream.runtime.offline import config_for, count, lift

    config = config_for(source, output, {"weights": weights, "device": device}, changes or ())
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with _only_warnings(), Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("lifting", total=count(source))
        frames = lift(config, lambda done: bar.update(task, completed=done))
        bar.update(task, total=frames)
    print_line(f"{frames} frames lifted to {output}")


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
    from stream.cameras.calibration import calibrate
    from stream.cameras.calibration_board import Board

    found = calibrate(images(source), Board.parse(board))
    lines = as_yaml(found.camera, name)
    if output is not None:
        output.write_text(lines, encoding="utf-8")
    print_line(
        f"# {found.views} views of {found.images} images, reprojection error {found.error_px:.2f} px, "
        f"focal length {found.camera.fx:.1f} ± {found.focal_sd_px:.1f} px"
    )
    print_line(lines.rstrip())


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


def images(path: Path) -> Iterator[U8]:
    """The images (H, W, 3) uint8 RGB of a folder, or five a second of a video."""
    context = ComponentContext(path.name)
    source: ImageFolder | OpenCV
    if path.is_dir():
        source, every_ns = ImageFolder(ImageFolder.Settings(path=str(path), pace="full"), context), 0
    else:
        source = OpenCV(OpenCV.Settings(url=str(path), pace="full"), context)
        every_ns = round(_EVERY_S * 1e9)
    due_ns = 0
    with opened(source):
        while True:
            try:
                frame = source.read(1.0)
            except EndOfStream:
                return
            if frame is not None and frame.header.captured_ns >= due_ns:
                due_ns = frame.header.captured_ns + every_ns
                yield frame.image


def as_yaml(camera: Camera.Settings, name: str) -> str:
    """The part of a config that tells the source `name`'s intrinsics."""
    values = "\n".join(f"      {key}: {value}" for key, value in msgspec.to_builtins(camera).items())
    return f"scene:\n  cameras:\n    {name}:\n{values.replace('(', '[').replace(')', ']')}\n"
