"""`poselift doctor`: looks at this machine and says what to do about each shortcoming."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import typer

from stream.cli.output import print_line

app = typer.Typer()

# Package to import, package to install, extra, use.
PACKAGES = (
    ("torch", "torch", "lift", "lift poses"),
    ("scipy", "scipy", "lift", "track several people"),
    ("cv2", "opencv-python-headless", "camera", "read cameras and videos"),
    ("mediapipe", "mediapipe", "camera", "find keypoints in images"),
    ("aiomqtt", "aiomqtt", "lift", "use MQTT"),
    ("prometheus_client", "prometheus-client", "metrics", "serve metrics"),
    ("mcap", "mcap", "mcap", "record .mcap"),
    ("cyclonedds", "cyclonedds", "ros2", "publish to ROS 2"),
    ("onnxruntime", "onnxruntime", "onnx", "try the engine onnx"),
    ("openvino", "openvino", "openvino", "try the engine openvino"),
)
PORTS = {5555: "sinks.zeromq.port", 9464: "sinks.prometheus.port"}
MIN_FREE_GB = 2.0
PLAUSIBLE_TIME_S = 1_750_000_000  # a clock before this (June 2025) was never set


class Finding(NamedTuple):
    """One line of the report; advice: what to do, "" when nothing is wrong."""

    topic: str
    text: str
    advice: str = ""


@app.command()
def doctor() -> None:
    """Look at this machine and give advice.

    Checks packages, engine, model files, cameras, ports, clock and disk; one line each. Changes nothing.
    """
    for finding in findings():
        mark, advice = ("!", f"; {finding.advice}") if finding.advice else (" ", "")
        print_line(f"{mark} {finding.topic:<8} {finding.text}{advice}")


def findings() -> Iterator[Finding]:
    """All findings, in the order of a setup."""
    yield Finding("python", f"{platform.python_version()} at {sys.executable}")
    yield from _packages()
    yield from _engine()
    yield from _models()
    yield from _cameras()
    yield from _ports()
    yield clock(time.time(), _synchronised())
    yield _disk()


def _packages() -> Iterator[Finding]:
    for module, package, extra, use in PACKAGES:
        if find_spec(module) is None:
            yield Finding("package", f"{package} is missing", f"to {use}: pip install 'poselift[{extra}]'")
        else:
            yield Finding("package", f"{package} {_version(package)}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(another package provides it)"


def _engine() -> Iterator[Finding]:
    if find_spec("torch") is None:
        return
    import torch

    from lifter.engines.choose import ENGINES, why_unavailable
    from lifter.engines.tuned import default_engine
    from stream.files.cache import cache_dir

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    usable = [engine for engine in ENGINES if not why_unavailable(engine, device.type)]
    text = f"{default_engine(device, torch.float32)} on {device}; usable: {', '.join(usable)}"
    tuned = any((cache_dir() / "engines").glob("*.json"))
    yield Finding("engine", text, "" if tuned else "`poselift bench --tune` measures which is fastest here")
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        yield Finding("engine", "torch does not see the GPU", "install a build of torch with CUDA")


def _models() -> Iterator[Finding]:
    if find_spec("mediapipe") is None:
        return
    from sources.mediapipe import model_files

    for file in model_files.available():
        if file.origin:
            yield Finding("model", f"detector {file.variant}: {file.path}")
        elif file.variant == "full":
            yield Finding(
                "model", "detector full: not downloaded", "`poselift models --fetch full` does it now"
            )


def _cameras() -> Iterator[Finding]:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        advice = "connect one, pass it to the container, or use a network camera"
        yield Finding("camera", "no /dev/video*", advice)
    for device in devices:
        if os.access(device, os.R_OK | os.W_OK):
            yield Finding("camera", str(device))
        else:
            yield Finding("camera", f"{device} may not be opened", "add your user to the group video")


def _ports() -> Iterator[Finding]:
    for port, setting in PORTS.items():
        yield check_port(port, setting)


def check_port(port: int, setting: str) -> Finding:
    """Whether a TCP port of loopback is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding("port", f"{port}: {error.strerror}", f"end that program or set {setting}")
    return Finding("port", f"{port} is free")


def clock(unix_s: float, synchronised: bool | None) -> Finding:
    """Whether the machine's clock can be compared with those of others; None means that it is unknown."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))
    if unix_s < PLAUSIBLE_TIME_S:
        return Finding("clock", now, "set the clock: every pose carries this time")
    if synchronised is False:
        advice = "switch on NTP (timedatectl set-ntp true): ages of poses are wrong on other machines"
        return Finding("clock", f"{now}, not synchronised", advice)
    return Finding("clock", f"{now}, {'synchronised' if synchronised else 'synchronisation unknown'}")


def _synchronised() -> bool | None:
    try:
        answer = subprocess.run(
            ["timedatectl", "show", "-p", "NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=3,
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(answer)


def _disk() -> Finding:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    advice = "" if free_gb >= MIN_FREE_GB else "make room before recording"
    return Finding("disk", f"{free_gb:.1f} GB free in {Path.cwd()}", advice)
