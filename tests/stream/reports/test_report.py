"""`poselift report` as it is typed: the same figures every time, in the documents where they belong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.evaluation.footage import Footage
from lifter.spec import LifterSpec, Schedule
from lifter.training.dry_run import WRITERS, motion
from stream.cli.main import main
from stream.errors import ConfigError
from stream.reports import real_videos as filmed

LENGTH = 60


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Motion to train and to test on, weights, a card; the working folder."""
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
    """A real video whose detector sees everything twice as large in 3D, and a little shaken."""
    truth = motion(4 * LENGTH).astype(np.float32)
    truth -= truth[:, :1]
    keypoints = np.concatenate([300 + 100 * truth[..., :2], np.ones((4 * LENGTH, 17, 1))], axis=-1)
    world = 2 * truth + np.random.default_rng(0).normal(0, 0.01, truth.shape).astype(np.float32)
    video = Footage("cam1", (640, 480), 50.0, keypoints.astype(np.float32), truth, world)
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
def test_one_command_writes_page_picture_and_card(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tiny.safetensors", "--data", ".", "--benchmark", "."]
    words += ["--beside", "unpruned=whole.safetensors", "-o", "page.md", "--card", "card.md", "--quick"]
    assert run(*words) == 0, capsys.readouterr().err
    page = (folder / "page.md").read_text()
    assert (
        "poselift report tiny.safetensors --data DIR --benchmark DIR/benchmark "
        "--beside unpruned=unpruned.safetensors -o page.md --card card.md --quick\n"
    ) in page
    table = rows(page[: page.index("The same by where")])
    assert list(table)[1:] == [
        "tiny", "the same weights, no frame pruned", "the same weights, windows of 9 frames", "unpruned",
        "the detector's keypoints at true depth", "mean pose", "mean pose of the true facing",
    ]  # fmt: skip
    # the same values were drawn for both
    assert table["unpruned"][2] == table["the same weights, no frame pruned"][2]
    assert table["unpruned"][2] != table["tiny"][2]
    everything = rows(page)
    mpjpe, p_mpjpe = map(int, everything["the detector's own 3D"][0].split(" / "))
    assert 0 < p_mpjpe < 0.1 * mpjpe
    newest, sent = (
        float(everything[f"tiny, {row}"][1].rstrip(" %")) for row in ("newest frame", "as sent live")
    )
    assert sent < 0.9 * newest  # bones keep their length once it is known
    assert everything["50 Hz"][1] == "+0.0 %"
    assert everything["their own"] != everything["a child's"]
    assert (folder / "robustness.png").stat().st_size > 1000
    card = (folder / "card.md").read_text()
    assert card.startswith("# Card\n<!-- report -->")
    assert card.endswith("<!-- /report -->\nend\n")
    assert rows(card)["tiny"] == rows(page[: page.index("How steady")])["tiny"]
    assert run(*words) == 0
    assert (folder / "page.md").read_text() == page


def test_in_brief_nothing_is_disturbed(folder: Path) -> None:
    assert run("tiny.safetensors", "--data", ".", "-o", "page.md", "--brief") == 0
    page = (folder / "page.md").read_text()
    assert "What disturbs it" not in page
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
def test_what_cannot_be_reported_is_refused_at_once(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tiny.safetensors", "--data", ".", "-o", "page.md", *words) == 2
    assert complaint in capsys.readouterr().err
    assert not Path("page.md").exists()


def seen(video: Path, variant: str):
    """Three frames; nobody is found in the second."""
    for frame in range(3):
        there = frame != 1
        world = np.full((17, 3), float(frame) if there else np.nan, np.float32)
        yield 20_000_000 * frame, (640, 480), np.full((17, 3), float(there), np.float32), world


def test_a_video_is_read_with_its_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = np.arange(17) != 13
    np.savez(tmp_path / "a.npz", cam1_X_cam_17_rootrel=np.zeros((3, 17, 3)), measured17=measured)
    monkeypatch.setattr(filmed, "_detected", seen)
    (video,) = filmed.labelled_videos(tmp_path)
    assert (video.name, video.size_wh, video.rate_hz) == ("cam1", (640, 480), 50.0)
    assert video.joints == (1, 2, 3, 4, 5, 6, 11, 12, 14, 15, 16)
    assert video.keypoints[:, 0, 2].tolist() == [1.0, 0.0, 1.0]
    assert video.world[:, 4, 0].tolist() == [0.0, 0.0, 2.0]  # held where there was nobody


def test_a_video_shorter_than_its_truth_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", cam1_X_cam_17_rootrel=np.zeros((4, 17, 3)))
    monkeypatch.setattr(filmed, "_detected", seen)
    with pytest.raises(ConfigError, match="expected the 4 frames of the truth, it has 3"):
        filmed.labelled_videos(tmp_path)


def test_the_detectors_3d_is_that_of_the_limbs_from_the_pelvis() -> None:
    spatial = np.random.default_rng(0).normal(0, 1, (33, 3)).astype(np.float32)
    pose = filmed._limbs(spatial)
    middle = (spatial[23] + spatial[24]) / 2  # hips
    np.testing.assert_allclose(pose[16], spatial[16] - middle, atol=1e-6)  # right wrist, both
    np.testing.assert_allclose(pose[4], spatial[23] - middle, atol=1e-6)  # left hip
    assert pose[0].tolist() == [0, 0, 0]
    assert np.isnan(pose[8]).all()
