"""`poselift keys` and the commands that take keys, as programs with real sockets."""

import stat
import subprocess
import sys
import time
from pathlib import Path

from sinks.zeromq import ZeroMQ
from stream.protocols import ComponentContext, opened
from tests.examples import pose_frame


def poselift(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_keys_makes_private_files_and_adds_clients(tmp_path: Path):
    folder = tmp_path / "keys"
    assert poselift("keys", folder, "--client", "robot").returncode == 0
    node = (folder / "node.key_secret").read_text()
    added = poselift("keys", folder, "--client", "desk")
    assert (added.returncode, "node.key_secret: exists, kept" in added.stdout) == (0, True)
    assert (folder / "node.key_secret").read_text() == node
    files = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*.*")}
    assert {name for name, mode in files.items() if mode == 0o600} == {
        "node.key_secret",
        "robot.key_secret",
        "desk.key_secret",
    }
    assert files.keys() >= {"node.key", "clients/robot.key", "clients/desk.key"}


def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path):
    for name in ("../robot", "node"):
        refused = poselift("keys", tmp_path, "--client", name)
        assert (refused.returncode, refused.stderr.startswith("error: --client")) == (2, True)


def test_listen_with_keys_gets_poses_and_without_gets_none(tmp_path: Path):
    poselift("keys", tmp_path, "--client", "robot")
    settings = ZeroMQ.Settings(
        port=0,
        max_age_ms=None,
        curve_secret_file=str(tmp_path / "node.key_secret"),
        curve_clients_folder=str(tmp_path / "clients"),
    )
    keys = ("--key", str(tmp_path / "robot.key_secret"), "--node-key", str(tmp_path / "node.key"))
    with opened(ZeroMQ(settings, ComponentContext("zeromq"))) as sink:
        command = [sys.executable, "-m", "stream.cli", "listen", sink.endpoint, "--json", "--seconds", "6"]
        outputs = [tmp_path / "with-keys", tmp_path / "without"]
        listeners = [
            subprocess.Popen([*command, *options], stdout=output.open("w"))
            for options, output in zip((keys, ()), outputs, strict=True)
        ]
        while any(listener.poll() is None for listener in listeners):
            sink.send(pose_frame())
            time.sleep(0.05)
        with_keys, without = (output.read_text() for output in outputs)
    assert '"pose3d"' in with_keys
    assert without == ""


def test_half_a_set_of_keys_is_refused(tmp_path: Path):
    refused = poselift("listen", "--key", tmp_path / "robot.key_secret")
    assert (refused.returncode, "expected both" in refused.stderr) == (2, True)
