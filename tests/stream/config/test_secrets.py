"""Secrets in configs are used and never shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.config.load import load, resolve
from stream.errors import ConfigError

SINKS = {"console": {"type": "console"}}


def test_a_reference_is_used_and_shown_as_it_was_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("DOOR", "tea-time")
    (tmp_path / "option").write_text("token;biscuit\n")
    url, options = "rtsp://camera:${DOOR}@192.0.2.1/a", f"${{file:{tmp_path}/option}}"
    door = {"type": "opencv", "url": url, "ffmpeg_options": options}
    config = resolve({"sources": {"door": door}, "sinks": SINKS})
    settings = config.sources["door"].settings
    assert (settings.url, settings.ffmpeg_options) == ("rtsp://camera:tea-time@192.0.2.1/a", "token;biscuit")
    shown = config.to_dict()["sources"]["door"]
    assert (shown["url"], shown["ffmpeg_options"]) == (url, options)
    assert "tea-time" not in repr(config.to_dict())


def test_an_error_shows_the_reference(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOOR", "/secret/tea-time.mp4")
    config = {"sources": {"door": {"type": "opencv", "fourcc": "${DOOR}"}}, "sinks": SINKS}
    with pytest.raises(ConfigError, match=r"fourcc: expected four letters such as MJPG, got '\$\{DOOR\}'"):
        resolve(config)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NO_SUCH_NAME}", "the environment variable NO_SUCH_NAME is not set"),
        ("${file:/nowhere}", "cannot be read"),
    ],
)
def test_a_missing_secret_is_named_with_its_place(text: str, problem: str):
    config = {"sources": {"door": {"type": "opencv", "url": text}}, "sinks": SINKS}
    with pytest.raises(ConfigError, match=rf"^sources.door.url: .*{problem}"):
        resolve(config)


def test_a_change_on_the_command_line_can_name_a_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOOR", "rtsp://192.0.2.1/tea-time")
    config = load("webcam", ["source.url=${DOOR}"])
    assert config.sources["webcam"].settings.url == "rtsp://192.0.2.1/tea-time"


def test_neither_the_list_of_processes_nor_check_shows_a_secret(tmp_path: Path, tiny_weights: Path):
    path = tmp_path / "door.yaml"
    path.write_text(
        'sources: {door: {type: keypoints_zmq, topic: "${DOOR}"}}\n'
        f"lifter: {{weights: {tiny_weights}}}\nsinks: {{console: {{type: console}}}}\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "stream.cli", "check", str(path)],
        env={**os.environ, "DOOR": "tea-time"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        command_line = Path(f"/proc/{process.pid}/cmdline").read_text()
        output, _ = process.communicate(timeout=60)
    assert "tea-time" not in command_line + output
    assert "topic: ${DOOR}" in output
