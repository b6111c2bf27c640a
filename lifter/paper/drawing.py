"""Draw Figures 7 and 10 of the paper with matplotlib, laid out in pixels.

The layout is in pixels because a mark of Figure 7 must cover whole pixels: 243 columns drawn on fewer
pixels would show stripes that are not in the data.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifter.spec import LifterSpec
from stream import skeletons
from stream.messages import F32, Mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 100
_MARK_COLOUR = "#2471a3"
_KEPT_COLOUR, _PRUNED_COLOUR, _POSE_COLOUR, _TRUTH_COLOUR = "#c0392b", "#9a9a9a", "#0097a7", "#000000"
_MIN_RASTER_WH_PX = (480, 420)  # of a panel of marks
_HISTOGRAM_HEIGHT_PX = 130
_BODY_HEIGHT_PX = 210  # of the tallest pose
_PRUNER_TITLES = {"tpc": "TPC", "tpa": "TPA", "tpmo": "TPMo", "tps": "TPS"}

Points = NDArray[np.floating]


class FrameColumn(NamedTuple):
    """One frame of Figure 10: keypoints (J, 3) px and score; pose and truth (J, 3) m, root-relative."""

    frame: int
    kept: bool
    keypoints: F32
    pose: F32
    truth: Points | None


def kept_frames_figure(kept_by_pruner: Mapping[str, Mask], spec: LifterSpec) -> "Figure":
    """Figure 7: a panel per pruner, with a row per window and a mark per kept frame, above a histogram.

    kept_by_pruner: (N, F) bool by the pruner's name.
    """
    windows, frames = next(iter(kept_by_pruner.values())).shape
    min_width, min_height = _MIN_RASTER_WH_PX
    width, height = frames * -(-min_width // frames), windows * -(-min_height // windows)
    lefts = [80 + panel * (width + 30) for panel in range(len(kept_by_pruner))]
    top, bars_top = 85, 85 + height + 25
    title = f"{_describe(spec)}; windows one frame apart"
    figure = _figure(lefts[-1] + width + 30, bars_top + _HISTOGRAM_HEIGHT_PX + 55, title)
    for panel, (left, (pruner, kept)) in enumerate(zip(lefts, kept_by_pruner.items(), strict=True)):
        raster = _axes(figure, left, top, width, height)
        bars = _axes(figure, left, bars_top, width, _HISTOGRAM_HEIGHT_PX)
        raster.set_title(f"({chr(ord('a') + panel)}) {_PRUNER_TITLES[pruner]}", fontsize=12)
        raster.imshow(_mark_image(kept), aspect="auto", interpolation="nearest")
        bars.bar(np.arange(frames), kept.sum(axis=0), width=1.0, color=_MARK_COLOUR, linewidth=0)
        bars.set(xlim=(-0.5, frames - 0.5), ylim=(0, 1.05 * windows), xlabel="frame in the window")
        raster.locator_params(axis="y", integer=True)
        bars.locator_params(axis="y", integer=True)
        raster.tick_params(labelbottom=False, labelleft=panel == 0)
        bars.tick_params(labelleft=panel == 0)
        if panel == 0:
            raster.set_ylabel("window")
            bars.set_ylabel("times kept")
    return figure


def motion_figure(columns: Sequence[FrameColumn], spec: LifterSpec) -> "Figure":
    """Figure 10: a column per frame, with its keypoints and its pose from the camera and from the side."""
    sizes = _Sizes.of(columns)
    lefts = [50 + column * (sizes.width + 12) for column in range(len(columns))]
    tops = [85 + row * (sizes.height + 12) for row in range(3)]
    figure = _figure(lefts[-1] + sizes.width + 15, tops[-1] + sizes.height + 45, _describe(spec))
    page = _axes(figure, 0, 0, *figure.get_size_inches() * _DPI)
    page.set(xlim=page.bbox.intervalx, ylim=page.bbox.intervaly[::-1])
    page.set_axis_off()
    for top, label in zip(tops, ("keypoints", "from the camera", "from the side"), strict=True):
        page.text(25, top + sizes.height / 2, label, rotation=90, ha="center", va="center", fontsize=11)
    legend = {"selected": _KEPT_COLOUR, "pruned": _PRUNED_COLOUR, "lifted": _POSE_COLOUR}
    legend |= {} if columns[0].truth is None else {"truth": _TRUTH_COLOUR}
    for entry, (label, colour) in enumerate(legend.items()):
        y = tops[-1] + sizes.height + 28
        page.text(50 + 90 * entry, y, label, color=colour, fontsize=11, weight="bold")
    for left, column in zip(lefts, columns, strict=True):
        _draw_column(page, column, sizes, left, tops, spec.skeleton)
    return figure


class _Sizes(NamedTuple):
    """Scales of the drawing, and sizes in pixels of the page."""

    px_per_m: float
    px_per_image_px: float
    min_y_m: float  # of the highest joint of all poses; y points down
    body_width: int
    width: int  # of a column
    height: int  # of a row

    @classmethod
    def of(cls, columns: Sequence[FrameColumn]) -> "_Sizes":
        poses = np.stack([p for column in columns for p in (column.pose, column.truth) if p is not None])
        min_y, max_y = poses[..., 1].min(), poses[..., 1].max()
        max_width = 2 * np.abs(poses[..., [0, 2]]).max()
        px_per_m = _BODY_HEIGHT_PX / max(max_y - min_y, max_width, 0.1)
        body_width = round(px_per_m * max_width) + 20
        width = body_width if columns[0].truth is None else 2 * body_width
        boxes = np.stack([np.ptp(column.keypoints[:, :2], axis=0) for column in columns]).max(axis=0)
        scale = float(min(np.array([width - 20, _BODY_HEIGHT_PX]) / np.maximum(boxes, 1.0)))
        return cls(px_per_m, scale, min_y, body_width, width, _BODY_HEIGHT_PX + 20)


def _draw_column(
    page: "Axes", column: FrameColumn, sizes: _Sizes, left: int, tops: Sequence[int], skeleton: str
) -> None:
    colour = _KEPT_COLOUR if column.kept else _PRUNED_COLOUR
    centre = np.array([left + sizes.width / 2, tops[0] + sizes.height / 2])
    page.text(centre[0], tops[0] - 10, f"frame {column.frame}", color=colour, ha="center", fontsize=11)
    xy = column.keypoints[:, :2]
    centred = (xy - (xy.min(axis=0) + xy.max(axis=0)) / 2) * sizes.px_per_image_px
    visible = column.keypoints[:, 2:] > 0
    _draw_bones(page, skeleton, np.where(visible, centred + centre, np.nan), colour)
    # The side view is from the camera's right: points far from the camera are on the left.
    for top, horizontal in zip(tops[1:], ([1, 0, 0], [0, 0, -1]), strict=True):
        for body, (pose, pose_colour) in enumerate(
            ((column.pose, _POSE_COLOUR), (column.truth, _TRUTH_COLOUR))
        ):
            if pose is not None:
                x = left + (body + 0.5) * sizes.body_width + pose @ horizontal * sizes.px_per_m
                y = top + 10 + (pose[:, 1] - sizes.min_y_m) * sizes.px_per_m
                _draw_bones(page, skeleton, np.stack([x, y], axis=1), pose_colour)
        if column.kept:
            right, bottom = left + sizes.width, top + sizes.height
            frame_x, frame_y = [left, right, right, left, left], [top, top, bottom, bottom, top]
            page.plot(frame_x, frame_y, color=_KEPT_COLOUR, linewidth=1.5)


def _draw_bones(page: "Axes", skeleton: str, points: Points, colour: str) -> None:
    """Draw the bones between points (J, 2) on the page; a bone with a NaN end is not drawn."""
    bones = [
        (parent, joint)
        for joint, parent in enumerate(skeletons.skeleton_named(skeleton).parents)
        if parent >= 0
    ]
    ends = np.full((len(bones), 3, 2), np.nan)  # the third row is NaN, which separates bones
    ends[:, :2] = points[bones]
    x, y = ends.reshape(-1, 2).T
    page.plot(x, y, color=colour, linewidth=2.2, solid_capstyle="round")


def _mark_image(kept: Mask) -> NDArray[np.uint8]:
    """Image (N, F, 3) uint8 with a coloured pixel per kept frame."""
    mark = np.frombuffer(bytes.fromhex(_MARK_COLOUR[1:]), np.uint8)
    return np.where(kept[..., None], mark, np.uint8(255))


def _describe(spec: LifterSpec) -> str:
    if spec.schedule is None:
        return f"{spec.name}: {spec.frames} frames, none pruned"
    keep, at = spec.schedule.keep, spec.schedule.at
    counts = " → ".join(str(count) for count in (spec.frames, *keep))
    return f"{spec.name}: {counts} frames, pruned at block{'s' * (len(at) > 1)} {', '.join(map(str, at))}"


def _figure(width: float, height: float, title: str) -> "Figure":
    """A figure of at least these sizes in pixels, and as wide as its title."""
    from matplotlib.figure import Figure  # without pyplot, which would need a window system

    width = max(width, 10 * len(title) + 40)
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    figure.text(0.5, 1 - 28 / height, title, ha="center", va="center", fontsize=13)
    return figure


def _axes(figure: "Figure", left: float, top: float, width: float, height: float) -> "Axes":
    """Axes at a position in pixels from the top left of the figure."""
    figure_width, figure_height = figure.get_size_inches() * _DPI
    bottom = figure_height - top - height
    return figure.add_axes(
        (left / figure_width, bottom / figure_height, width / figure_width, height / figure_height)
    )
