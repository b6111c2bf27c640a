from pathlib import Path

import pytest

from sinks.mcap import MCAP
from sinks.npz import NPZ
from stream.cli.main import main
from stream.files import mcap, poses
from stream.protocols import ComponentContext
from tests.examples import pose_frame
from tests.rig_examples import joints, pose_frames


def poselift(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_the_journal_of_an_npz_recording_becomes_the_recording(tmp_path: Path):
    sink = NPZ(NPZ.Settings(path=str(tmp_path / "walk.npz")), ComponentContext("record"))
    sink.open()
    for seq in range(5):
        sink.send(pose_frame(seq))
    journal = tmp_path / "walk.npz.journal.jsonl"
    assert poselift("repair", journal, "-o", tmp_path / "walk.npz") == 0
    assert [frame.header.seq for frame in poses.read(tmp_path / "walk.npz")] == list(range(5))
    assert poselift("repair", journal, "-o", tmp_path / "walk.npz") == 2  # it exists now


def test_a_cut_off_mcap_recording_gets_its_index(tmp_path: Path):
    sink = MCAP(MCAP.Settings(path=str(tmp_path / "walk.mcap")), ComponentContext("record"))
    sink.open()
    for frame in pose_frames([joints()] * 5):
        sink.send(frame)
    sink.close()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes((tmp_path / "walk.mcap").read_bytes()[:-100])
    assert poselift("repair", cut, "-o", tmp_path / "whole.mcap") == 0
    assert len(list(mcap.read(tmp_path / "whole.mcap"))) == 5


def test_other_kinds_of_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert poselift("repair", tmp_path / "walk.bvh", "-o", tmp_path / "walk.npz") == 2
    assert "expected a .mcap from a .mcap, or an .npz from a .jsonl" in capsys.readouterr().err
