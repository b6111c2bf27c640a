"""The paper's figures of pruning, drawn to files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lifter import weights
from lifter.h2ot.prune import uniform
from lifter.paper import drawing, figures
from lifter.paper.kept_frames import kept_frames, with_pruner
from lifter.samples import cut_window, open_lifter, recording_as_window
from lifter.spec import LifterSpec, Schedule
from stream.errors import CheckpointError, ConfigError
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import PACKAGED_RECORDING

F = 27
KEPT = np.arange(F)[uniform(F, 13)][uniform(13, 9)].tolist()
SPEC = LifterSpec(
    name="tiny", frames=F, schedule=Schedule((13, 9), (0, 1)), config={"width": 16, "depth": 2, "heads": 2}
)
MARK = (36, 113, 163)


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    weights.save(tmp_path / "tiny.safetensors", weights.build(SPEC), SPEC)
    return tmp_path / "tiny.safetensors"


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_every_mark_is_a_kept_frame(tiny, tmp_path):
    """Windows are drawn 27 cells of 18 px wide and 10 cells of 42 px high, panels 516 px apart."""
    path = figures.draw_kept_frames(None, tmp_path / "selected.png", tiny, windows=10)
    picture = pixels(path)
    recording = recording_as_window(PACKAGED_RECORDING, "h36m17")
    slices = [cut_window(recording, start, F) for start in range(10)]
    for panel, pruner in enumerate(("tpc", "tpa", "tpmo", "tps")):
        left, top = 80 + panel * 516 + 9, 85 + 21
        marks = (picture[top : top + 420 : 42, left : left + 486 : 18] == MARK).all(axis=2)
        assert (marks == kept_frames(with_pruner(open_lifter(tiny), pruner), slices)).all()


def test_all_marks_of_a_full_window_have_the_same_width(tmp_path):
    kept = np.tile(np.arange(243) % 3 == 0, (140, 1))
    figure = drawing.kept_frames_figure({"tps": kept}, LifterSpec(name="full"))
    figure.savefig(tmp_path / "full.png")
    row = pixels(tmp_path / "full.png")[85 + 200, 80 : 80 + 486]
    marked = (row[2:-2] == MARK).all(axis=1)  # without the edges, which the axes cover
    assert (marked == np.repeat(kept[0], 2)[2:-2]).all()


def test_bars_count_the_windows_in_which_a_frame_is_kept():
    kept = np.array([[True, False, True], [True, False, False]])
    figure = drawing.kept_frames_figure({"tpa": kept}, LifterSpec(name="three", frames=3))
    raster, bars = figure.axes
    assert raster.get_title() == "(a) TPA"
    assert [bar.get_height() for bar in bars.patches] == [2, 0, 1]


def recording_of(path, frames, **arrays):
    """The first frames of the packaged recording, with further arrays in the file."""
    first = (frame for frame, _ in zip(keypoint_files.read(PACKAGED_RECORDING), range(frames), strict=False))
    keypoint_files.write(path, first)
    np.savez(path, **dict(np.load(path)), **arrays)
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The columns passed to the drawing."""
    passed = []
    draw = drawing.motion_figure
    monkeypatch.setattr(
        drawing, "motion_figure", lambda columns, spec: passed.extend(columns) or draw(columns, spec)
    )
    return passed


def test_columns_have_the_kept_frames_and_the_poses_of_the_lifter(tiny, tmp_path, drawn):
    truth = np.random.default_rng(0).normal([0, 0, 4], 0.3, size=(40, 17, 3))
    recording = recording_of(tmp_path / "walk.npz", 40, truth=truth)
    path = figures.draw_lifted_motion(recording, tmp_path / "lifted.png", tiny, frames=range(5, 32), start=5)
    height, width, _ = pixels(path).shape
    assert 600 < height < 1000
    assert 27 * 2 * 100 < width < 27 * 2 * 250  # two bodies in a column
    window = cut_window(recording_as_window(recording, "h36m17"), 5, F)
    poses = open_lifter(tiny).lift([window])[0]
    assert [column.frame for column in drawn] == list(range(5, 32))
    assert [column.frame - 5 for column in drawn if column.kept] == KEPT
    for index, column in enumerate(drawn):
        assert (column.keypoints == window.keypoints[index]).all()
        assert (column.pose == poses[index]).all()
        assert (column.truth == truth[5 + index] - truth[5 + index, :1]).all()


def test_columns_are_evenly_spaced_and_without_truth_by_default(tiny, tmp_path, drawn):
    figures.draw_lifted_motion(None, tmp_path / "lifted.png", tiny)
    assert [column.frame for column in drawn] == [0, 4, 7, 11, 15, 19, 22, 26]
    assert [column.truth for column in drawn] == [None] * 8


def test_figures_repeat_to_the_pixel(tiny, tmp_path):
    for name in ("first.png", "second.png"):
        figures.draw_lifted_motion(None, tmp_path / name, tiny)
    assert (pixels(tmp_path / "first.png") == pixels(tmp_path / "second.png")).all()


def standing(kept=True, truth=None):
    """An upright person who faces the camera, with the left arm stretched out to the camera."""
    xyz = np.array(
        [
            [0, 0, 0], [-0.1, 0, 0], [-0.1, 0.45, 0], [-0.1, 0.9, 0], [0.1, 0, 0], [0.1, 0.45, 0],
            [0.1, 0.9, 0], [0, -0.25, 0], [0, -0.5, 0], [0, -0.6, 0], [0, -0.75, 0], [0.2, -0.5, 0],
            [0.2, -0.5, -0.3], [0.2, -0.5, -0.55], [-0.2, -0.5, 0], [-0.2, -0.2, 0], [-0.2, 0.05, 0],
        ],
        np.float32,
    )  # fmt: skip
    keypoints = np.concatenate([xyz[:, :2] * 100 + 300, np.ones((17, 1))], axis=1).astype(np.float32)
    keypoints[13, 2] = 0  # the left wrist is missing
    return drawing.FrameColumn(7, kept, keypoints, xyz, xyz if truth else None)


def bones(figure):
    """Bones by row (keypoints, front, side) and colour: (16, 2, 2) ends of each in pixels, y downwards."""
    (page,) = figure.axes
    assert page.get_ylim() == (figure.bbox.height, 0)
    lines = [line for line in page.lines if len(line.get_xdata()) > 5]
    return [(line.get_color(), line.get_xydata().reshape(16, 3, 2)[:, :2]) for line in lines]


def test_skeletons_stand_upright_and_the_side_view_looks_to_the_right():
    drawn = bones(drawing.motion_figure([standing()], SPEC))
    assert [colour for colour, _ in drawn] == ["#c0392b", "#0097a7", "#0097a7"]
    for _, ends in drawn:
        head, ankles = ends[9, 1], ends[[2, 5], 1]
        assert (head[1] < ankles[:, 1]).all()
    front, side = drawn[1][1], drawn[2][1]
    left_wrist, right_wrist = front[12, 1], front[15, 1]
    assert left_wrist[0] > right_wrist[0]
    assert side[12, 0, 0] > side[11, 0, 0]  # towards the camera is to the right


def test_missing_joints_are_not_drawn():
    (_, keypoints), *_ = bones(drawing.motion_figure([standing()], SPEC))
    assert np.isnan(keypoints).any(axis=(1, 2)).nonzero()[0].tolist() == [12]


def test_kept_frames_are_red_and_framed_and_the_truth_is_beside_the_pose():
    figure = drawing.motion_figure([standing(False, True), standing(True, True)], SPEC)
    pruned, front, true_front, side, true_side, kept, *_ = bones(figure)
    assert (pruned[0], kept[0]) == ("#9a9a9a", "#c0392b")
    for pose, truth in ((front, true_front), (side, true_side)):
        assert (pose[0], truth[0]) == ("#0097a7", "#000000")
        assert pose[1][..., 0].max() < truth[1][..., 0].min()
        np.testing.assert_allclose(np.ptp(pose[1], axis=0), np.ptp(truth[1], axis=0))
    framed = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 5]
    assert [line.get_color() for line in framed] == ["#c0392b", "#c0392b"]
    assert all(min(line.get_xdata()) > true_front[1][..., 0].max() for line in framed)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pruners": ("tpz",)}, "schedule.pruner: expected one of tps, tpc, tpa, tpmo, got 'tpz'"),
        ({"pruners": ()}, "expected at least one pruner and one window, got 0 and 140"),
        ({"windows": 0}, "expected at least one pruner and one window, got 4 and 0"),
        ({"windows": 600}, "600 windows of 27 frames take 626, the recording has 600"),
        ({"model": "tiny"}, "expected a .safetensors file or a packaged name .*got tiny"),
        ({"keypoints": Path("none.npz")}, "none.npz: expected a file of keypoints, but there is none"),
        ({"output": Path("selected.jpg")}, "selected.jpg: expected an output ending in .png"),
        ({"output": Path("nowhere/selected.png")}, "the folder nowhere does not exist; make it first"),
    ],
)
def test_kept_frames_that_cannot_be_drawn_are_refused(tiny, tmp_path, options, complaint):
    settings = {"keypoints": None, "output": tmp_path / "selected.png", "model": tiny} | options
    with pytest.raises(ConfigError, match=complaint):
        figures.draw_kept_frames(**settings)
    assert not (tmp_path / "selected.png").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"start": 574}, "a window from frame 574 on of 27 frames take 601, the recording has 600"),
        ({"start": -1}, "start: expected a frame number from 0, got -1"),
        ({"frames": (3, 27)}, r"frames: expected 1 to 60 of the numbers 0 to 26, got \[3, 27\]"),
        ({"frames": ()}, r"frames: expected 1 to 60 of the numbers 0 to 26, got \[\]"),
        ({"frames": [3] * 61}, "frames: expected 1 to 60"),
        ({"truth": np.full((600, 17, 3), np.nan)}, "truth: expected finite poses .N, J, 3. = "),
        (
            {"truth": np.zeros((599, 17, 3))},
            r"truth: expected finite poses .* = \(600, 17, 3\) .*599",
        ),
    ],
)
def test_a_motion_that_cannot_be_drawn_is_refused(tiny, tmp_path, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        figures.draw_lifted_motion(None, tmp_path / "lifted.png", tiny, **options)
    assert not (tmp_path / "lifted.png").exists()


def test_weights_that_give_nan_are_refused(tmp_path):
    model = weights.build(SPEC)
    torch.nn.init.constant_(model.head[1].bias, torch.nan)
    weights.save(tmp_path / "broken.safetensors", model, SPEC)
    with pytest.raises(CheckpointError, match="tiny gives NaN or infinity; its weights are damaged"):
        figures.draw_lifted_motion(None, tmp_path / "lifted.png", tmp_path / "broken.safetensors")


def test_a_lifter_of_centre_frames_has_no_motion_to_draw(tmp_path):
    spec = LifterSpec(name="middle", frames=F, output="centre", config=SPEC.config)
    weights.save(tmp_path / "centre.safetensors", weights.build(spec), spec)
    with pytest.raises(ConfigError, match="middle gives the pose of one frame of a window"):
        figures.draw_lifted_motion(None, tmp_path / "lifted.png", tmp_path / "centre.safetensors")


def test_without_matplotlib_the_error_names_the_package_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    for draw in (figures.draw_kept_frames, figures.draw_lifted_motion):
        with pytest.raises(ConfigError, match=r"matplotlib; pip install 'poselift\[train\]'"):
            draw(None, tmp_path / "figure.png", tiny)
