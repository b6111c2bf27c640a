"""The command that draws the paper's figures from any recording."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.arguments import At, Keep, output_option, parse_schedule, require_choice
from stream.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer()


@app.command()
def plot(
    figure: Annotated[
        str,
        typer.Argument(
            help="selected (Figure 7: frames that the pruners keep), lifted (Figure 10: a lifted motion), "
            "wild (Figure 8: images of a video and their poses), failures (Figure 9: uncertain frames)."
        ),
    ],
    output: Annotated[Path, output_option("The PNG file to write.")],
    keypoints: Annotated[
        Path | None, typer.Option(help="A file of keypoints; default: the packaged recording.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="Packaged weights, a .safetensors file, or an architecture with random weights."),
    ] = "small",
    windows: Annotated[int, typer.Option(help="For selected: number of windows, one frame apart.")] = 140,
    keep: Keep = None,
    at: At = None,
    video: Annotated[
        Path | None, typer.Option(help="For wild and failures: the video of the keypoints.")
    ] = None,
    columns: Annotated[int, typer.Option(help="For wild and failures: number of frames.")] = 6,
) -> None:
    """Draw a figure of the paper.

    Shows the frames that each pruner keeps, or a lifted motion with the kept frames in red.
    """
    from lifter.paper import figures, in_the_wild

    require_choice("FIGURE", figure, ("selected", "lifted", "wild", "failures"))
    if figure == "selected":
        schedule = parse_schedule(keep, at)
        path = figures.draw_kept_frames(keypoints, output, model, windows=windows, schedule=schedule)
    elif figure in ("wild", "failures"):
        if keypoints is None or video is None:
            raise ConfigError(f"{figure}: expected --keypoints FILE and --video FILE of the same frames")
        images = partial(_read_images, video)
        path = in_the_wild.draw_in_the_wild(
            keypoints, images, output, model, columns, failures=figure == "failures"
        )
    else:
        path = figures.draw_lifted_motion(keypoints, output, model)
    print(path)


def _read_images(video: Path, frames: Sequence[int]) -> list["NDArray[np.uint8]"]:
    """Images (H, W, 3) RGB of frames of a video; ConfigError for a frame that cannot be decoded."""
    import cv2
    import numpy as np

    capture = cv2.VideoCapture(str(video))
    images = {}
    try:
        for number in range(max(frames) + 1):
            decoded, image = capture.read()
            if not decoded:
                raise ConfigError(
                    f"{video}: expected a video of more than {max(frames)} frames, got {number}"
                )
            if number in frames:
                images[number] = np.asarray(image[..., ::-1], np.uint8)
    finally:
        capture.release()
    return [images[frame] for frame in frames]
