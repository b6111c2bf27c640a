"""The `poselift` command as typed."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader

from stream.cli.main import main
from stream.errors import SourceUnavailable
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import PoseFrame
from stream.wire.codec import decode
from tests.sources.media import write_video


def poselift(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `poselift ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def poses(path: Path) -> list[PoseFrame]:
    messages = [decode(line) for line in path.read_bytes().splitlines()]
    return [message for message in messages if isinstance(message, PoseFrame)]


COMMANDS = (
    *("demo", "run", "check", "listen", "lift", "models", "calibrate", "convert", "repair"),
    *("keys", "doctor"),
    *("flops", "import-weights", "train", "evaluate", "plot", "lag-curve", "report", "bench"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text(capsys: pytest.CaptureFixture[str], command: str):
    code, out, _ = poselift(capsys, command, "--help")
    assert code == 0
    assert f"poselift {command}" in out
    assert command in poselift(capsys, "--help")[1]


def test_check_prints_the_whole_config(capsys: pytest.CaptureFixture[str], tiny_weights: Path):
    code, out, _ = poselift(capsys, "check", "synthetic", "--set", f"lifter.weights={tiny_weights}")
    assert code == 0
    assert yaml.safe_load(out)["sources"]["walkers"]["persons"] == 2


def test_check_reports_a_mistake(capsys: pytest.CaptureFixture[str]):
    code, out, err = poselift(capsys, "check", "synthetic", "--set", "lifter.hopp=3")
    assert (code, out) == (2, "")
    assert "did you mean 'hop'" in err


def test_check_reports_a_missing_video(capsys: pytest.CaptureFixture[str], tiny_weights: Path):
    changes = ("source.url=/nowhere/walk.mp4", f"lifter.weights={tiny_weights}")
    options = [part for change in changes for part in ("--set", change)]
    code, out, err = poselift(capsys, "check", "webcam", *options)
    assert (code, out) == (2, "")
    assert "no such video file: /nowhere/walk.mp4" in err


def test_an_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]):
    assert poselift(capsys, "lfit")[0] == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".npz"])
def test_lift_writes_a_pose_for_every_frame(
    capsys: pytest.CaptureFixture[str], tiny_weights: Path, tmp_path: Path, suffix: str
):
    output = tmp_path / f"poses{suffix}"
    code, out, err = poselift(capsys, "lift", PACKAGED_RECORDING, "-o", output, "--weights", tiny_weights)
    frames = len(list(keypoint_files.read(PACKAGED_RECORDING)))
    assert (code, out) == (0, f"{frames} frames lifted to {output}\n"), err
    if suffix == ".npz":
        with np.load(output, allow_pickle=False) as arrays:
            assert len(arrays["xyz"]) == frames
    else:
        assert [frame.header.seq for frame in poses(output)] == list(range(frames))


@pytest.mark.parametrize("suffix", [".mcap", ".bvh", ".glb", ".vrma"])
def test_lift_and_convert_write_files_for_animation_and_robots(
    capsys: pytest.CaptureFixture[str], tiny_weights: Path, tmp_path: Path, suffix: str
):
    lifted, converted = tmp_path / f"lifted{suffix}", tmp_path / f"converted{suffix}"
    command = ("lift", PACKAGED_RECORDING, "--weights", tiny_weights, "-o")
    assert poselift(capsys, *command, lifted)[0] == 0
    assert poselift(capsys, *command, tmp_path / "poses.jsonl")[0] == 0
    code, out, _ = poselift(capsys, "convert", tmp_path / "poses.jsonl", converted)
    assert (code, out) == (0, f"600 frames converted to {converted}\n")
    # The numbers of a .jsonl are rounded, so only the sizes can be compared.
    assert converted.stat().st_size == pytest.approx(lifted.stat().st_size, rel=0.1)


def test_repair_writes_an_index_again(capsys: pytest.CaptureFixture[str], tiny_weights: Path, tmp_path: Path):
    whole, cut, repaired = (tmp_path / f"{name}.mcap" for name in ("whole", "cut", "repaired"))
    poselift(capsys, "lift", PACKAGED_RECORDING, "--weights", tiny_weights, "-o", whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, out, _ = poselift(capsys, "repair", cut, "-o", repaired)
    assert (code, out.split(" ", 1)[1]) == (0, f"messages written to {repaired}\n")
    assert 200 < poses_in(repaired) < 400


def poses_in(path: Path) -> int:
    with path.open("rb") as file:
        return sum(channel.topic == "/poselift/pose3d" for _, channel, _ in make_reader(file).iter_messages())


def test_lift_reads_plain_arrays(capsys: pytest.CaptureFixture[str], tiny_weights: Path, tmp_path: Path):
    keypoints = np.random.default_rng(0).uniform(100, 300, (40, 17, 2)).astype(np.float32)
    np.savez(tmp_path / "plain.npz", keypoints=keypoints)
    changes = ["source.fps=30", "source.skeleton=coco17", "source.size_wh=[640, 480]"]
    options = [part for change in changes for part in ("--set", change)]
    output = tmp_path / "out.jsonl"
    command = ["lift", tmp_path / "plain.npz", "-o", output, "--weights", tiny_weights, *options]
    assert poselift(capsys, *command)[0] == 0
    assert len(poses(output)) == 40


def test_a_clip_shorter_than_the_window_is_lifted(
    capsys: pytest.CaptureFixture[str], tiny_weights: Path, tmp_path: Path
):
    frames = list(keypoint_files.read(PACKAGED_RECORDING))
    for length in (1, 26, 27, 28, 54):  # the window of this lifter has 27 frames
        keypoint_files.write(tmp_path / "clip.npz", frames[:length])
        output = tmp_path / f"{length}.jsonl"
        poselift(capsys, "lift", tmp_path / "clip.npz", "-o", output, "--weights", tiny_weights)
        assert [frame.header.seq for frame in poses(output)] == [f.header.seq for f in frames[:length]]


def test_a_file_name_becomes_a_valid_source_name(
    capsys: pytest.CaptureFixture[str], tiny_weights: Path, tmp_path: Path
):
    frames = list(keypoint_files.read(PACKAGED_RECORDING))[:3]
    frames = [replace(frame, header=replace(frame.header, source="")) for frame in frames]
    keypoint_files.write(tmp_path / "vidéo ü.npz", frames)
    output = tmp_path / "out.jsonl"
    code, _, err = poselift(capsys, "lift", tmp_path / "vidéo ü.npz", "-o", output, "--weights", tiny_weights)
    assert code == 0, err
    assert {frame.header.source for frame in poses(output)} == {"vid_o__"}


def test_lift_ends_with_an_error_when_the_detector_model_cannot_be_fetched(
    capsys: pytest.CaptureFixture[str],
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def offline(*_: object) -> bytes:
        raise SourceUnavailable("the full detector model cannot be fetched")

    monkeypatch.setattr("sources.mediapipe.model_files.fetch", offline)
    video = write_video(tmp_path / "walk.mp4", 5)
    code, _, err = poselift(capsys, "lift", video, "-o", tmp_path / "poses.npz", "--weights", tiny_weights)
    assert (code, err.splitlines()[-1]) == (1, "error: the full detector model cannot be fetched")


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("nothing.mp4", "out.npz", "no such file or folder"),
        ("notes.txt", "out.npz", "expected a video"),
        ("notes.txt", "out.csv", "expected an output ending in .npz, .jsonl"),
        ("broken.npz", "out.npz", "broken.npz"),
        ("empty.mp4", "out.npz", "empty.mp4"),
        ("folder", "out.npz", "folder"),
        ("notes.txt", "nowhere/out.npz", "does not exist"),
        ("notes.txt", "folder/../broken.npz", "expected a video"),
        ("broken.npz", "folder/../broken.npz", "this is the input, which would be overwritten"),
        ("walk.npz", "folder.npz", "folder.npz: cannot be written"),
        ("walk.npz", "folder.jsonl", "folder.jsonl: cannot be written"),
    ],
)
def test_lift_reports_wrong_inputs_and_outputs(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_weights: Path,
    source: str,
    output: str,
    message: str,
):
    for name in ("notes.txt", "broken.npz", "empty.mp4"):
        (tmp_path / name).write_bytes(b"junk" if name != "empty.mp4" else b"")
    for name in ("folder", "folder.npz", "folder.jsonl"):
        (tmp_path / name).mkdir()
    shutil.copy(PACKAGED_RECORDING, tmp_path)
    command = ("lift", tmp_path / source, "-o", tmp_path / output, "--weights", tiny_weights)
    code, _, err = poselift(capsys, *command)
    assert code == 2, err
    assert message in err


def test_models_lists_weights_and_detectors(capsys: pytest.CaptureFixture[str]):
    code, out, _ = poselift(capsys, "models")
    assert code == 0
    assert "small" in out
    assert "heavy" in out


def test_flops_counts_the_paper_s_model(capsys: pytest.CaptureFixture[str]):
    code, out, _ = poselift(capsys, "flops", "mixste", "--keep", "121,81", "--at", "0,3", "--json")
    count = json.loads(out)
    assert (code, round(count["parameters"] / 1e6, 2), round(count["paper_flops"] / 1e9, 2)) == (
        0,
        33.78,
        118.23,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["flops"],
        ["flops", "mixsty"],
        ["flops", "mixste", "--keep", "3"],
        ["flops", "mixste", "--keep", "a", "--at", "0"],
    ],
)
def test_flops_reports_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str]):
    code, _, err = poselift(capsys, *arguments)
    assert code == 2
    assert err.startswith("error: ")


def test_a_subscriber_imports_neither_torch_nor_the_libraries_of_the_command():
    heavy = ("torch", "cv2", "mediapipe", "typer", "rich", "yaml", "PIL", "safetensors", "aiomqtt")
    code = f"import sys, stream; stream.subscribe; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
