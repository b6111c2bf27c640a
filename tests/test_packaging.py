"""The service unit and the container file agree with the code, as far as that shows without running them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNIT = (ROOT / "scripts" / "systemd" / "poselift.service").read_text()
CONTAINER = (ROOT / "Containerfile").read_text()


def test_the_unit_waits_for_ready_and_watches():
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT, re.M))
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) >= 60  # twice the time after which a thread counts as hanging
    assert settings["RestartPreventExitStatus"] == "2"
    assert settings["User"] == "poselift"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit():
    command = ["systemd-analyze", "verify", str(ROOT / "scripts" / "systemd" / "poselift.service")]
    errors = subprocess.run(command, capture_output=True, text=True, timeout=60).stderr
    assert "Unknown key" not in errors
    assert "Failed to parse" not in errors


def test_the_container_has_no_root_and_copies_what_exists():
    assert re.findall(r"^USER (.*)$", CONTAINER, re.M) == ["10001"]
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINER, re.M)
    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []
    packages = {line.split()[0] for line in copied if (ROOT / line.split()[0]).is_dir()}
    assert packages == {"stream", "lifter", "sources", "sinks", "configs"}


def test_the_container_installs_extras_that_exist():
    extras = re.search(r"\.\[([a-z0-9,]+)\]", CONTAINER)
    assert extras is not None
    project = (ROOT / "pyproject.toml").read_text()
    assert [extra for extra in extras[1].split(",") if f"\n{extra} = [" not in project] == []


def container_tool() -> str | None:
    """podman or docker, when it can reach what builds images."""
    for tool in ("podman", "docker"):
        works = [tool, "info"]
        if shutil.which(tool) and not subprocess.run(works, capture_output=True, timeout=60).returncode:
            return tool
    return None


@pytest.mark.internet
def test_the_container_builds_and_runs_without_root_and_with_a_read_only_root():
    tool = container_tool()
    if tool is None:
        pytest.skip("neither podman nor docker works here, so that the image is not built")
    subprocess.run([tool, "build", "-t", "poselift-test", str(ROOT)], check=True, timeout=1800)
    run = [tool, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "poselift-test", "doctor"]
    assert "python" in subprocess.run(run, check=True, capture_output=True, text=True, timeout=120).stdout


def copied_into(folder: Path) -> Path:
    """The files that the container's build stage copies, in a folder of their own."""
    source = folder / "src"
    for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINER, re.M):
        *names, target = line.split()
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (source / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, source / target)
    return source


@pytest.mark.internet
def test_the_steps_of_the_container_give_a_node_that_needs_no_privileges_and_writes_only_data(
    tiny_weights: Path,
):
    """The steps of the Containerfile, with the dependencies of this environment in place of downloads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, installed = folder / "data", folder / "opt"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(installed)]
        subprocess.run([*pip, str(copied_into(folder))], check=True, timeout=600)
        data.mkdir()
        shutil.copy(tiny_weights, data / "tiny.safetensors")
        (data / "poselift.yaml").write_text(
            "sources: {walkers: {type: synthetic, frames: 60, pace: full}}\n"
            "lifter: {weights: tiny.safetensors, device: cpu}\n"
            "sinks: {record: {type: jsonl, path: poses.jsonl}, metrics: {type: prometheus, port: 0}}\n"
        )
        for path in (installed, *installed.rglob("*")):
            path.chmod(0o555)
        # Without capabilities root is bound to permissions, as any user is.
        unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        prefix = unprivileged if os.geteuid() == 0 else []
        environment = {"PYTHONPATH": str(installed), "HOME": str(data), "POSELIFT_CACHE": str(data / "cache")}
        for command in (["doctor"], ["run", "poselift.yaml"]):
            done = subprocess.run(
                [*prefix, sys.executable, "-P", "-m", "stream.cli", *command],
                cwd=data,
                env=os.environ | environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        assert len((data / "poses.jsonl").read_text().splitlines()) >= 60
        for path in (installed, *installed.rglob("*")):
            path.chmod(0o755)  # so that the folder can be removed
        packaged = sorted(path.stem for path in (installed / "stream" / "config" / "packaged").glob("*.yaml"))
        assert packaged == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
