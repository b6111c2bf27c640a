import json
import subprocess
import sys
from pathlib import Path


def test_an_error_that_ends_the_run_is_json(tmp_path: Path):
    config = tmp_path / "run.yaml"
    config.write_text("sources: {walk: {type: nonsense}}\nsinks: {poses: {type: memory}}\n")
    command = [sys.executable, "-m", "stream.cli", "run", str(config), "--log", "json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    (entry,) = [json.loads(line) for line in run.stderr.splitlines()]
    assert (run.returncode, entry["level"]) == (2, "error")
    assert entry["message"].startswith("sources.walk.type: expected one of")


def test_every_line_of_a_run_is_json(tmp_path: Path, tiny_weights: Path):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"sources: {{walk: {{type: synthetic, frames: 20}}}}\nlifter: {{weights: {tiny_weights}}}\n"
        "sinks: {poses: {type: memory}}\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "stream.cli", "run", str(config), "--log", "json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    entries = [json.loads(line) for line in run.stderr.splitlines()]
    assert (run.returncode, run.stdout) == (0, "")
    assert entries[-1]["message"].startswith("stopped.")
    assert entries[0].keys() == {"time", "level", "logger", "thread", "message"}
