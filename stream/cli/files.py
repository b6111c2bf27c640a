"""Commands that read files: lift keypoints, images or a video; convert and repair recordings; calibrate a
camera.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from sources.images import ImageFolder
from sources.opencv import OpenCV
from stream.cameras.intrinsics import Camera
from stream.cli.arguments import DeviceOption, WeightsOption
from stream.cli.output import print_line, progress_bar
from stream.errors import EndOfStream
from stream.messages import U8
from stream.protocols import ComponentContext, opened

CALIBRATION_INTERVAL_S = 0.2  # between the frames of a video that are searched for the board

app = typer.Typer()


@app.command()
def lift(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="A video, a folder of images, or 2D keypoints (.jsonl, .npz, .npy)."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file to write: .npz, .jsonl, .mcap, .bvh, .glb or .vrma."),
    ],
    weights: WeightsOption = "small",
    device: DeviceOption = "auto",
    refined: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Lift with both packaged models, then refine all frames together: steady, constant bones.",
        ),
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting, of the input (e.g. --set source.fps=50) or any other. Can be repeated.",
        ),
    ] = None,
) -> None:
    """Lift a whole file to 3D poses.

    Every pose uses the frames before and after it. A .bvh, .glb or .vrma file holds one person; further
    persons get files of their own. A plain array of keypoints (.npy, .npz) needs --set
    source.skeleton=coco17, --set source.fps=30 and --set source.size_wh=[640,480].
    """
    from stream.runtime.offline import config_for, count, lift

    settings = {"weights": weights, "device": device}
    if refined:
        from stream.runtime.refine import lift_refined

        frames = lift_refined(source, output, settings, changes or (), progress_bar)
    else:
        config = config_for(source, output, settings, changes or ())
        expected = count(source)
        with progress_bar("lifting") as report_progress:
            frames = lift(config, lambda done: report_progress(done, expected))
            report_progress(frames, frames)
    print_line(f"{frames} frames lifted to {output}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Recorded poses: .jsonl, .npz or .mcap.")],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="The file to write: .npz, .jsonl, .mcap, .bvh, .glb or .vrma."),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of the output, e.g. --set sink.fps=30. Can be repeated.",
        ),
    ] = None,
) -> None:
    """Convert recorded poses to another format.

    Joint rotations are computed when the recording has none and the output needs them.
    """
    from stream.runtime.convert import convert

    frames = convert(source, output, changes or ())
    print_line(f"{frames} frames converted to {output}")


@app.command()
def repair(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="An .mcap file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .mcap file to write.")],
) -> None:
    """Repair an MCAP recording whose program was killed.

    Writes all messages that can be read into a new file with an index, which other programs need.
    """
    from stream.files import mcap
    from stream.runtime.offline import check_output

    check_output(source, output, (".mcap",))
    print_line(f"{mcap.repair(source, output)} messages written to {output}")


@app.command()
def calibrate(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video or a folder of images.")],
    board: Annotated[
        str,
        typer.Option(
            help="The printed board: chessboard:9x6:25mm (inner corners, size of a square) or "
            "charuco:5x7:40mm:30mm (squares, sizes of a square and of a marker)."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name that the camera's source has in your config.")] = "cam0",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .yaml file to write the lines to.")
    ] = None,
) -> None:
    """Measure a camera's intrinsics.

    Finds a printed board in the images and prints the intrinsics as lines for a config. Use ten views or
    more: sharp, the board large, also near the image borders, tilted by about 30 degrees in several
    directions.
    """
    from stream.cameras.calibration import calibrate
    from stream.cameras.calibration_board import Board

    calibration = calibrate(read_images(source), Board.parse(board))
    camera = calibration.camera
    lines = as_yaml(camera, name)
    if output is not None:
        output.write_text(lines, encoding="utf-8")
    print_line(
        f"# board found in {calibration.views} of {calibration.images} images, reprojection error "
        f"{calibration.error_px:.2f} px, focal length {camera.fx:.1f} ± {calibration.focal_sd_px:.1f} px"
    )
    print_line(lines.rstrip())


def read_images(path: Path) -> Iterator[U8]:
    """Images (H, W, 3) uint8 RGB: all of a folder, or five per second of a video."""
    context = ComponentContext(path.name)
    source: ImageFolder | OpenCV
    if path.is_dir():
        source, interval_ns = ImageFolder(ImageFolder.Settings(path=str(path), pace="full"), context), 0
    else:
        source = OpenCV(OpenCV.Settings(url=str(path), pace="full"), context)
        interval_ns = round(CALIBRATION_INTERVAL_S * 1e9)
    next_ns = 0
    with opened(source):
        while True:
            try:
                frame = source.read(1.0)
            except EndOfStream:
                return
            if frame is not None and frame.header.captured_ns >= next_ns:
                next_ns = frame.header.captured_ns + interval_ns
                yield frame.image


def as_yaml(camera: Camera.Settings, name: str) -> str:
    """The lines of a config that set the intrinsics of the source `name`."""
    values = "\n".join(f"      {key}: {value}" for key, value in msgspec.to_builtins(camera).items())
    return f"scene:\n  cameras:\n    {name}:\n{values.replace('(', '[').replace(')', ']')}\n"
