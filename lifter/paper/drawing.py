"""Draws Figures 7 and 10 of the paper with matplotlib, laid out in pixels.

In pixels, because a mark of Figure 7 must cover whole ones: 243 columns squeezed into fewer would show
stripes that no pruner made.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifter.spec import LifterSpec
from stream import skeletons
from stream.messages import F32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 100
_MARK = "#2471a3"
_SELECTED, _PRUNED, _LIFTED, _TRUTH = "#c0392b", "#9a9a9a", "#0097a7", "#000000"
_RASTER_WH = (480, 420)  # a panel of marks is at least as large
_BARS = 130  # height of a histogram
_BODY = 210  # height of the tallest pose
_NAMES = {"tpc": "TPC", "tpa": "TPA", "tpmo": "TPMo", "tps": "TPS"}

Points = NDArray[np.floating]


class Column(NamedTuple):
    """One frame of Figure 10: keypoints (J, 3) px and score; pose and truth (J, 3) m, root-relative."""

    frame: int
    selected: bool
    keypoints: F32
    pose: F32
    truth: Points | None


def marks(chosen: Mapping[str, NDArray[np.bool_]], spec: LifterSpec) -> "Figure":
    """Figure 7. A panel per pruner: a row per window, a column per place in it; how often each is kept.

    chosen (N, F) by the pruner's name.
    """
    windows, frames = next(iter(chosen.values())).shape
    width, height = frames * -(-_RASTER_WH[0] // frames), windows * -(-_RASTER_WH[1] // windows)
    lefts = [80 + panel * (width + 30) for panel in range(len(chosen))]
    top, below = 85, 85 + height + 25
    title = f"{_described(spec)}; windows one frame apart"
    figure = _figure(lefts[-1] + width + 30, below + _BARS + 55, title)
    for panel, (left, (name, kept)) in enumerate(zip(lefts, chosen.items(), strict=True)):
        raster, bars = _axes(figure, left, top, width, height), _axes(figure, left, below, width, _BARS)
        raster.set_title(f"({chr(ord('a') + panel)}) {_NAMES[name]}", fontsize=12)
        raster.imshow(_coloured(kept), aspect="auto", interpolation="nearest")
        bars.bar(np.arange(frames), kept.sum(axis=0), width=1.0, color=_MARK, linewidth=0)
        bars.set(xlim=(-0.5, frames - 0.5), ylim=(0, 1.05 * windows), xlabel="frame in the window")
        raster.locator_params(axis="y", integer=True)
        bars.locator_params(axis="y", integer=True)
        raster.tick_params(labelbottom=False, labelleft=panel == 0)
        bars.tick_params(labelleft=panel == 0)
        if panel == 0:
            raster.set_ylabel("window")
            bars.set_ylabel("times kept")
    return figure


def columns(shown: Sequence[Column], spec: LifterSpec) -> "Figure":
    """Figure 10. A column per frame: its keypoints, and below its pose from the camera and from the side."""
    size = _Sizes.of(shown)
    lefts = [50 + column * (size.width + 12) for column in range(len(shown))]
    tops = [85 + row * (size.height + 12) for row in range(3)]
    figure = _figure(lefts[-1] + size.width + 15, tops[-1] + size.height + 45, _described(spec))
    page = _axes(figure, 0, 0, *figure.get_size_inches() * _DPI)
    page.set(xlim=page.bbox.intervalx, ylim=page.bbox.intervaly[::-1])
    page.set_axis_off()
    for top, row in zip(tops, ("keypoints", "from the camera", "from the side"), strict=True):
        page.text(25, top + size.height / 2, row, rotation=90, ha="center", va="center", fontsize=11)
    legend = {"selected": _SELECTED, "pruned": _PRUNED, "lifted": _LIFTED}
    legend |= {} if shown[0].truth is None else {"truth": _TRUTH}
    for place, (word, ink) in enumerate(legend.items()):
        page.text(50 + 90 * place, tops[-1] + size.height + 28, word, color=ink, fontsize=11, weight="bold")
    for left, column in zip(lefts, shown, strict=True):
        _column(page, column, size, left, tops, spec.skeleton)
    return figure


class _Sizes(NamedTuple):
    """How large things become on the page: pixels per metre, per pixel of the camera, of a cell."""

    per_m: float
    per_px: float
    highest_m: float  # y of the highest joint of all
    body: int
    width: int
    height: int

    @classmethod
    def of(cls, shown: Sequence[Column]) -> "_Sizes":
        poses = np.stack([pose for each in shown for pose in (each.pose, each.truth) if pose is not None])
        highest, lowest = poses[..., 1].min(), poses[..., 1].max()
        across = 2 * np.abs(poses[..., [0, 2]]).max()
        per_m = _BODY / max(lowest - highest, across, 0.1)
        body = round(per_m * across) + 20
        width = body if shown[0].truth is None else 2 * body
        boxes = np.stack([np.ptp(each.keypoints[:, :2], axis=0) for each in shown]).max(axis=0)
        per_px = float(min(np.array([width - 20, _BODY]) / np.maximum(boxes, 1.0)))
        return cls(per_m, per_px, highest, body, width, _BODY + 20)


def _column(page: "Axes", shown: Column, size: _Sizes, left: int, tops: Sequence[int], skeleton: str) -> None:
    ink = _SELECTED if shown.selected else _PRUNED
    middle = np.array([left + size.width / 2, tops[0] + size.height / 2])
    page.text(middle[0], tops[0] - 10, f"frame {shown.frame}", color=ink, ha="center", fontsize=11)
    xy = shown.keypoints[:, :2]
    centred = (xy - (xy.min(axis=0) + xy.max(axis=0)) / 2) * size.per_px
    seen = shown.keypoints[:, 2:] > 0
    _limbs(page, skeleton, np.where(seen, centred + middle, np.nan), ink)
    # The side is seen from the camera's right: what is far away stands at the left.
    for top, across in zip(tops[1:], ([1, 0, 0], [0, 0, -1]), strict=True):
        for place, (pose, ink) in enumerate(((shown.pose, _LIFTED), (shown.truth, _TRUTH))):
            if pose is not None:
                x = left + (place + 0.5) * size.body + pose @ across * size.per_m
                y = top + 10 + (pose[:, 1] - size.highest_m) * size.per_m
                _limbs(page, skeleton, np.stack([x, y], axis=1), ink)
        if shown.selected:
            right, bottom = left + size.width, top + size.height
            page.plot(
                [left, right, right, left, left],
                [top, top, bottom, bottom, top],
                color=_SELECTED,
                linewidth=1.5,
            )


def _limbs(page: "Axes", skeleton: str, points: Points, ink: str) -> None:
    """Bones between points (J, 2) on the page; NaN is left out."""
    bones = [
        (parent, joint)
        for joint, parent in enumerate(skeletons.skeleton_named(skeleton).parents)
        if parent >= 0
    ]
    ends = np.full((len(bones), 3, 2), np.nan)  # NaN ends the stroke
    ends[:, :2] = points[bones]
    x, y = ends.reshape(-1, 2).T
    page.plot(x, y, color=ink, linewidth=2.2, solid_capstyle="round")


def _coloured(kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    mark = np.frombuffer(bytes.fromhex(_MARK[1:]), np.uint8)
    return np.where(kept[..., None], mark, np.uint8(255))


def _described(spec: LifterSpec) -> str:
    if spec.schedule is None:
        return f"{spec.name}: {spec.frames} frames, none pruned"
    keep, at = spec.schedule.keep, spec.schedule.at
    counts = " → ".join(str(count) for count in (spec.frames, *keep))
    return f"{spec.name}: {counts} frames, pruned at block{'s' * (len(at) > 1)} {', '.join(map(str, at))}"


def _figure(width: float, height: float, title: str) -> "Figure":
    """A figure of at least so many pixels, and as wide as its title."""
    from matplotlib.figure import Figure  # no window system

    width = max(width, 10 * len(title) + 40)
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    figure.text(0.5, 1 - 28 / height, title, ha="center", va="center", fontsize=13)
    return figure


def _axes(figure: "Figure", left: float, top: float, width: float, height: float) -> "Axes":
    """Axes at a place in pixels from the top left of the figure."""
    whole_width, whole_height = figure.get_size_inches() * _DPI
    bottom = whole_height - top - height
    return figure.add_axes(
        (left / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
    )
