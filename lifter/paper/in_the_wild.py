"""Draw Figures 8 and 9 of the paper: images of any video with keypoints, and the poses lifted from them.

Figure 8 shows frames spread evenly over the video; Figure 9 those in which the detector is least certain.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifter.h2ot import pipelines
from lifter.paper.figures import check_png_output
from lifter.runner import Runner
from lifter.samples import open_lifter, recording_as_window
from stream import skeletons
from stream.errors import ConfigError
from stream.messages import F32, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Image = NDArray[np.uint8]  # (H, W, 3) RGB
ReadImages = Callable[[Sequence[int]], Sequence[Image]]
MAX_COLUMNS = 12
_MARGIN = 0.25  # around the person, as a share of the person's height in the image
_LINE = {"linewidth": 2.0, "solid_capstyle": "round"}


def draw_in_the_wild(
    keypoints: Path,
    read_images: ReadImages,
    output: Path,
    model: str | Path,
    columns: int = 6,
    failures: bool = False,
) -> Path:
    """Draw Figure 8, or with `failures` Figure 9, to `output`.

    keypoints: a recording with a frame for every image of the video. read_images: gives the images of frame
    numbers, in the same order. Raises ConfigError for a number of columns that does not fit.
    """
    check_png_output(output)
    runner = open_lifter(model)
    recording = recording_as_window(keypoints, runner.spec.skeleton)
    if not 1 <= columns <= min(MAX_COLUMNS, len(recording.keypoints)):
        raise ConfigError(
            f"columns: expected 1 to {min(MAX_COLUMNS, len(recording.keypoints))}, got {columns}"
        )
    frames = (least_certain if failures else evenly_spaced)(recording.keypoints, columns)
    poses = lift_frames(runner, recording, frames)
    _save(recording.keypoints[frames], poses, read_images(frames), frames, runner.spec.skeleton, output)
    return output


def evenly_spaced(keypoints: F32, count: int) -> list[int]:
    """Numbers of `count` frames spread evenly over keypoints (L, J, 3)."""
    frames: list[int] = np.linspace(0, len(keypoints) - 1, count + 2)[1:-1].round().astype(int).tolist()
    return frames


def least_certain(keypoints: F32, count: int) -> list[int]:
    """The frame of the lowest mean score in each of `count` equal parts of keypoints (L, J, 3)."""
    score = keypoints[..., 2].mean(axis=1)
    return [int(part[score[part].argmin()]) for part in np.array_split(np.arange(len(score)), count)]


def lift_frames(runner: Runner, recording: Window, frames: Sequence[int]) -> F32:
    """Poses (N, J, 3) in metres of frames of a recording, each from the window around it."""
    size = runner.spec.frames
    starts = np.array(frames) - size // 2
    bounds = np.stack([starts, starts + size], axis=1)
    keypoints = pipelines.cut_windows(recording.keypoints, bounds)
    origin = pipelines.cut_windows(recording.origin, bounds)
    captured_ns = pipelines.cut_windows(recording.captured_ns, bounds)
    windows = [
        Window(*parts, recording.size_wh) for parts in zip(keypoints, origin, captured_ns, strict=True)
    ]
    poses = runner.lift(windows)
    centres: F32 = poses[:, size // 2 if poses.shape[1] > 1 else 0]
    return centres


def _save(
    keypoints: F32, poses: F32, images: Sequence[Image], frames: Sequence[int], skeleton: str, output: Path
) -> None:
    from matplotlib.figure import Figure  # without pyplot, which would need a window system

    figure = Figure((2.4 * len(frames), 5.2), dpi=100, facecolor="white", layout="constrained")
    bones = skeletons.skeleton_named(skeleton).bones
    for column, (joints, pose, image, frame) in enumerate(zip(keypoints, poses, images, frames, strict=True)):
        shown = figure.add_subplot(2, len(frames), column + 1)
        shown.set_title(f"frame {frame}", fontsize=10)
        _draw_image(shown, image, joints, bones)
        body = figure.add_subplot(2, len(frames), len(frames) + column + 1)
        for start, end in bones:
            body.plot(pose[[start, end], 0], pose[[start, end], 1], color="#0097a7", **_LINE)  # type: ignore[arg-type]
        body.set(xlim=(-1, 1), ylim=(1.1, -1.1), aspect="equal")
        body.axis("off")
    figure.savefig(output)


def _draw_image(axes: "Axes", image: Image, joints: F32, bones: Sequence[tuple[int, int]]) -> None:
    """The part of an image around a person, with the bones between detected joints (J, 3)."""
    axes.imshow(image)
    visible = joints[:, 2] > 0
    for start, end in bones:
        if visible[start] and visible[end]:
            axes.plot(joints[[start, end], 0], joints[[start, end], 1], color="#c0392b", **_LINE)  # type: ignore[arg-type]
    if visible.any():
        low, high = joints[visible, :2].min(axis=0), joints[visible, :2].max(axis=0)
        middle, half = (low + high) / 2, (0.5 + _MARGIN) * max(*(high - low), 20.0)
        axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] + half, middle[1] - half))
    axes.axis("off")
