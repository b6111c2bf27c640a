"""SIGHUP, as an operator sends it: cameras come and go, and the other cameras notice nothing."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stream.running_node import Node, assert_in_order, ids, lost_ids

WAIT_S = 120.0
StartNode = Callable[[list[str], int], Node]


@pytest.fixture
def start_node(tiny_weights: Path, tmp_path: Path) -> Iterator[StartNode]:
    nodes = []

    def start(cameras: list[str], workers: int) -> Node:
        nodes.append(Node(tiny_weights, tmp_path, cameras, workers))
        return nodes[-1]

    yield start
    for node in nodes:
        node.close()


def reload(node: Node, cameras: list[str], changes: str = "") -> None:
    node.write_config(cameras, changes)
    node.process.send_signal(signal.SIGHUP)


def wait_for_frames(node: Node, camera: str, more: int = 15) -> None:
    """Wait for `more` further frames of a camera."""
    before = len(node.frames(camera))
    node.wait_for(lambda: len(node.frames(camera)) >= before + more)


def stop(node: Node) -> str:
    """Stop the node; what it printed."""
    node.process.send_signal(signal.SIGINT)
    output = node.wait_for_end()
    assert node.process.returncode == 0, output
    return output


def assert_unbroken(frames: list[dict[str, Any]]) -> None:
    """No frame is missing, twice or out of order; one session, one person, never lost."""
    seqs = [frame["seq"] for frame in frames]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert_in_order(frames)
    assert len({frame["session"] for frame in frames}) == 1
    assert len(ids(frames)) == 1
    assert lost_ids(frames) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_cameras_are_added_and_removed_and_the_others_go_on_without_a_gap(
    start_node: StartNode, workers: int
):
    node = start_node(["cam0", "cam1"], workers)
    for camera in ("cam0", "cam1"):
        wait_for_frames(node, camera)
    if workers > 1:
        node.wait_for(node.has_spare)
    reload(node, ["cam0", "cam2", "cam3"])
    for camera in ("cam2", "cam3", "cam0"):
        wait_for_frames(node, camera)
    removed = node.frames("cam1")
    assert lost_ids(removed) == list(ids(removed)), "every person of the removed camera is lost once"
    node.wait_for(lambda: any("cam1" in removed_cameras(report) for report in node.reports))
    node.wait_for(lambda: "cam1" not in node.report["states"])
    wait_for_frames(node, "cam0")
    assert len(node.frames("cam1")) == len(removed)

    reload(node, ["cam0", "cam1", "cam3"])
    for camera in ("cam1", "cam3", "cam0"):
        wait_for_frames(node, camera)
    back = node.frames("cam1")[len(removed) :]
    assert not ids(back) & ids(removed)
    assert_in_order(node.frames("cam1"))
    node.wait_for(lambda: lost_ids(node.frames("cam2")))
    for camera in ("cam0", "cam3"):
        assert_unbroken(node.frames(camera))
    output = stop(node)
    assert "reload: added cam2, cam3; removed cam1" in output
    assert "reload: added cam1; removed cam2" in output


def removed_cameras(report: dict[str, Any]) -> list[str]:
    return [name for name, state in report["states"].items() if state["state"] == "removed"]


def test_an_invalid_file_changes_nothing_and_fixed_settings_stay(start_node: StartNode):
    node = start_node(["cam0"], 1)
    wait_for_frames(node, "cam0")
    node.config.write_text("sources: {cam0: {type: webcam}}\nsinks: {c: {type: console}}\n")
    node.process.send_signal(signal.SIGHUP)
    wait_for_frames(node, "cam0", 60)
    reload(node, ["cam0", "cam1"], "scene: {height_m: 1.9}\n")
    wait_for_frames(node, "cam1")
    wait_for_frames(node, "cam0")
    assert_unbroken(node.frames("cam0"))
    output = stop(node)
    mistakes = [line for line in output.splitlines() if "nothing is changed" in line]
    assert len(mistakes) == 1
    assert "sources.cam0.type: expected one of" in mistakes[0]
    assert "these settings stay as they are until a restart: scene.height_m" in output


def test_systemd_hears_of_a_reload_and_of_its_end(tiny_weights: Path, tmp_path: Path):
    config = tmp_path / "service.yaml"
    text = f"lifter: {{weights: {tiny_weights}}}\nsinks: {{poses: {{type: memory}}}}\n"
    config.write_text("sources: {one: {type: synthetic}}\n" + text)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(WAIT_S)
        service = subprocess.Popen(
            [sys.executable, "-m", "stream.cli", "run", str(config), "--log", "json"],
            env={**os.environ, "NOTIFY_SOCKET": systemd.getsockname()},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert next_state(systemd).startswith("READY=1\n")
            for lines, status in (
                ("sources: {one: {type: synthetic}, two: {type: synthetic}}\n", "reload: added two"),
                ("sources: [\n", "reload: nothing is changed: "),
            ):
                config.write_text(lines + text)
                sent_us = time.monotonic_ns() // 1000
                service.send_signal(signal.SIGHUP)
                reloading, _, since_us = next_state(systemd).partition("\nMONOTONIC_USEC=")
                assert reloading == "RELOADING=1"
                assert int(since_us) >= sent_us
                assert next_state(systemd).startswith(f"READY=1\nSTATUS={status}")
        finally:
            service.kill()
            service.wait()


def next_state(systemd: socket.socket) -> str:
    """The next message to systemd that is no sign of life."""
    while (state := systemd.recv(10_000).decode()).startswith("WATCHDOG=1"):
        pass
    return state


# Runs a command in a terminal of its own, which is closed at the first output; exits as the command does.
IN_TERMINAL = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.executable, sys.argv[1:])
os.read(terminal, 1)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_closed_terminal_ends_the_command(tiny_weights: Path, tmp_path: Path):
    config = tmp_path / "terminal.yaml"
    config.write_text(
        "sources: {one: {type: synthetic}}\n"
        f"lifter: {{weights: {tiny_weights}}}\n"
        f"sinks: {{file: {{type: jsonl, path: {tmp_path}/poses.jsonl}}}}\n"
    )
    command = [sys.executable, "-m", "stream.cli", "run", str(config), "--log", "json"]
    done = subprocess.run([sys.executable, "-c", IN_TERMINAL, *command], timeout=WAIT_S, check=False)
    assert done.returncode == 0
