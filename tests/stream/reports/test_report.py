"""`poselift report` on the command line: reproducible tables, written into the documents."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.evaluation.labelled_video import LabelledVideo
from lifter.spec import LifterSpec, Schedule
from lifter.training.dry_run import WRITERS, motion
from stream.cli.main import main
from stream.errors import ConfigError
from stream.reports import real_videos as filmed

LENGTH = 60


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with motion capture, weights and a card."""
    monkeypatch.chdir(tmp_path)
    WRITERS["motion"](tmp_path, {"file": "motion_train.npz", "test_file": "motion_test.npz"}, LENGTH)
    for name, schedule in (("tiny", Schedule(keep=(14, 9), at=(0, 1))), ("whole", None)):
        torch.manual_seed(1)
        config = {"width": 16, "depth": 2, "heads": 2}
        spec = LifterSpec(
            name=name, frames=27, in_channels=3, normalise="person", schedule=schedule, config=config
        )
        weights.save(tmp_path / f"{name}.safetensors", weights.build(spec), spec)
    (tmp_path / "card.md").write_text("# Card\n<!-- report --><!-- /report -->\nend\n")
    return tmp_path


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> None:
    """A labelled video whose detector gives 3D poses of twice the size with a little noise."""
    truth = motion(4 * LENGTH).astype(np.float32)
    truth -= truth[:, :1]
    keypoints = np.concatenate([300 + 100 * truth[..., :2], np.ones((4 * LENGTH, 17, 1))], axis=-1)
    world = 2 * truth + np.random.default_rng(0).normal(0, 0.01, truth.shape).astype(np.float32)
    video = LabelledVideo("cam1", (640, 480), 50.0, keypoints.astype(np.float32), truth, world)
    monkeypatch.setattr(filmed, "labelled_videos", lambda folder: [video])


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    return int(ended.value.code or 0)


def rows(text: str) -> dict[str, list[str]]:
    """Cells of all rows of a page's tables by their first cell."""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


@pytest.mark.usefixtures("films")
def test_the_command_writes_page_figure_and_card(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tiny.safetensors", "--data", ".", "--benchmark", "."]
    words += ["--beside", "unpruned=whole.safetensors", "-o", "page.md", "--card", "card.md", "--quick"]
    assert run(*words) == 0, capsys.readouterr().err
    page = (folder / "page.md").read_text()
    assert (
        "poselift report tiny.safetensors --data DIR --benchmark DIR/benchmark "
        "--beside unpruned=unpruned.safetensors -o page.md --card card.md --quick\n"
    ) in page
    table = rows(page[: page.index("Means over 3 draws")])
    assert list(table)[1:] == [
        "tiny", "the same weights, no frame pruned", "the same weights, windows of 9 frames", "unpruned",
        "the detector's keypoints at true depth", "mean pose", "mean pose of the true facing",
    ]  # fmt: skip
    # both have the same random weights
    assert table["unpruned"][2] == table["the same weights, no frame pruned"][2]
    assert table["unpruned"][2] != table["tiny"][2]
    draws = rows(page[page.index("Means over 3 draws") : page.index("The same by database")])
    assert list(draws)[1:] == ["tiny", "unpruned"]
    mean, standard_error = map(float, draws["tiny"][0].split(" / ")[0].split(" ± "))
    assert abs(mean - float(table["tiny"][2].split(" / ")[0])) < 4 * standard_error + 0.1
    assert standard_error > 0
    everything = rows(page)
    mpjpe, p_mpjpe = map(int, everything["the detector's own 3D"][0].split(" / "))
    assert 0 < p_mpjpe < 0.1 * mpjpe
    newest, sent = (
        float(everything[f"tiny, {row}"][1].rstrip(" %")) for row in ("newest frame", "as sent live")
    )
    assert sent < 0.9 * newest  # smoothing keeps bone lengths constant
    assert everything["50 Hz"][1] == "+0.0 %"
    assert everything["their own"] != everything["a child's"]
    assert (folder / "robustness.png").stat().st_size > 1000
    card = (folder / "card.md").read_text()
    assert card.startswith("# Card\n<!-- report -->")
    assert card.endswith("<!-- /report -->\nend\n")
    assert rows(card)["tiny"] == rows(page[: page.index("Steadiness of")])["tiny"]
    assert run(*words) == 0
    assert (folder / "page.md").read_text() == page


def test_a_brief_report_has_no_robustness_tests(folder: Path) -> None:
    assert run("tiny.safetensors", "--data", ".", "-o", "page.md", "--brief") == 0
    page = (folder / "page.md").read_text()
    assert "Disturbances" not in page
    assert "Real video" not in page
    assert not (folder / "robustness.png").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--beside", "whole.safetensors"), "--beside: expected NAME=FILE, got 'whole.safetensors'"),
        (("--card", "nothing.md"), "nothing.md: cannot be read"),
        (("--data", "nowhere"), "nowhere: expected a folder with motion_test.npz"),
        (("-o", "nowhere/page.md"), "the folder nowhere does not exist"),
        (("--benchmark", "."), ".: expected .npz files with arrays <name>_X_cam_17_rootrel"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_wrong_argument_is_refused_before_the_measuring(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tiny.safetensors", "--data", ".", "-o", "page.md", *words) == 2
    assert complaint in capsys.readouterr().err
    assert not Path("page.md").exists()


def detected(video: Path, variant: str):
    """Three frames; the second has no person."""
    for frame in range(3):
        has_person = frame != 1
        world = np.full((17, 3), float(frame) if has_person else np.nan, np.float32)
        yield 20_000_000 * frame, (640, 480), np.full((17, 3), float(has_person), np.float32), world


def test_a_video_is_read_with_its_true_poses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = np.arange(17) != 13
    np.savez(tmp_path / "a.npz", cam1_X_cam_17_rootrel=np.zeros((3, 17, 3)), measured17=measured)
    monkeypatch.setattr(filmed, "detections_in", detected)
    (video,) = filmed.labelled_videos(tmp_path)
    assert (video.name, video.size_wh, video.rate_hz) == ("cam1", (640, 480), 50.0)
    assert video.joints == (1, 2, 3, 4, 5, 6, 11, 12, 14, 15, 16)
    assert video.keypoints[:, 0, 2].tolist() == [1.0, 0.0, 1.0]
    assert video.world[:, 4, 0].tolist() == [0.0, 0.0, 2.0]  # the last pose is held without a person


def test_a_video_shorter_than_its_true_poses_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", cam1_X_cam_17_rootrel=np.zeros((4, 17, 3)))
    monkeypatch.setattr(filmed, "detections_in", detected)
    with pytest.raises(ConfigError, match="expected the 4 frames of the truth, it has 3"):
        filmed.labelled_videos(tmp_path)


def test_the_detectors_3d_limbs_are_relative_to_the_pelvis() -> None:
    spatial = np.random.default_rng(0).normal(0, 1, (33, 3)).astype(np.float32)
    pose = filmed.limb_pose(spatial)
    middle = (spatial[23] + spatial[24]) / 2  # hips
    np.testing.assert_allclose(pose[16], spatial[16] - middle, atol=1e-6)  # right wrist, both
    np.testing.assert_allclose(pose[4], spatial[23] - middle, atol=1e-6)  # left hip
    assert pose[0].tolist() == [0, 0, 0]
    assert np.isnan(pose[8]).all()
