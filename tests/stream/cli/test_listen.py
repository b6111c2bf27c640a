"""`poselift listen`: the summary of received poses, and its recording."""

from pathlib import Path

import pytest

from stream.cli.listen import RateSummary
from stream.cli.main import main
from tests.examples import pose, pose_frame


def test_the_summary_has_rate_age_and_persons() -> None:
    summary = RateSummary()
    for seq, age_ms in enumerate((10, 20, 30)):
        frame = pose_frame(seq, persons=(pose(), pose("b0002", state="lost")))
        summary.add(frame, frame.header.captured_unix_ns + age_ms * 1_000_000)
    assert summary.line(summary.start_s + 1.5) == "  2.0 poses/s | age p50 20.0 ms, p95 29.0 ms | persons 1"


def test_a_recording_with_another_suffix_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["listen", "-o", str(tmp_path / "poses.csv"), "--seconds", "0.1"])
    assert ended.value.code == 2
    assert "poses.csv: expected a recording ending in .jsonl or .npz" in capsys.readouterr().err


def test_silence_is_not_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["listen", f"ipc://{tmp_path}/poses", "-o", str(tmp_path / "p.jsonl"), "--seconds", "0.2"])
    assert ended.value.code == 0, capsys.readouterr().err
    assert capsys.readouterr().out == f"listening to ipc://{tmp_path}/poses\n"
    assert (tmp_path / "p.jsonl").read_bytes() == b""
