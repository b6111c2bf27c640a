"""The service unit and the container file agree with the code, as far as that shows without running them."""

import re
import shutil
import subprocess
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
