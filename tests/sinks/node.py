"""A running node that publishes through all sinks for robots and avatars, and a listener to each."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from sources.synthetic import Synthetic
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext, opened
from stream.wire.codec import encode_keypoints
from tests.conftest import Mosquitto
from tests.sinks.listeners import (
    QUIET_S,
    Listener,
    MQTTListener,
    ROS2Listener,
    SONICListener,
    VMCListener,
    ZeroMQListener,
    wait_until,
)

REPOSITORY = Path(__file__).parents[2]
FPS = 10.0  # of cameras: little work for a busy machine
WALKER = {"type": "synthetic", "fps": FPS}
ANY_AGE_MS = 600_000.0  # a busy machine may be late


class Link:
    """A network between the node and its receivers, which a test can cut; skips the test without root."""

    def __init__(self, stack: ExitStack) -> None:
        self._name = f"poselift{os.getpid()}"
        self.interface, self.node_interface = f"pl{os.getpid() % 10**7}h", f"pl{os.getpid() % 10**7}n"
        network = f"198.18.{os.getpid() % 256}"  # a range for tests of networks
        self.host, self.node_host = f"{network}.1", f"{network}.2"
        self.command = ["ip", "netns", "exec", self._name]
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("cutting a network needs root and the program ip")
        stack.callback(subprocess.run, ["ip", "netns", "delete", self._name], check=False)
        for command in (
            f"netns add {self._name}",
            f"link add {self.interface} type veth peer name {self.node_interface} netns {self._name}",
            f"address add {self.host}/24 dev {self.interface}",
            f"link set {self.interface} up",
            f"-n {self._name} address add {self.node_host}/24 dev {self.node_interface}",
            f"-n {self._name} link set {self.node_interface} up",
            f"-n {self._name} link set lo up",
        ):
            if subprocess.run(["ip", *command.split()], check=False).returncode:
                pytest.skip(f"this machine does not permit `ip {command}`")

    def cut(self) -> None:
        subprocess.run(["ip", "link", "set", self.interface, "down"], check=True)

    def restore(self) -> None:
        subprocess.run(["ip", "link", "set", self.interface, "up"], check=True)


class Node:
    """`poselift run` with every sink of the table, and a listener to each, until all have heard a pose."""

    def __init__(
        self,
        stack: ExitStack,
        broker: Mosquitto,
        domain: int,
        source: dict[str, Any],
        play: Callable[[], None] = lambda: None,
        link: Link | None = None,
        max_age_ms: float = ANY_AGE_MS,
    ) -> None:
        self.play = play
        host, node_host = (link.host, link.node_host) if link else ("127.0.0.1", "127.0.0.1")
        interface, node_interface = (link.interface, link.node_interface) if link else ("lo", "lo")
        zeromq_port, sonic_port = (5555, 5556) if link else (free_port(), free_port())
        # The listeners are there before the node, so that they miss nothing.
        vmc = VMCListener(stack, host)
        self.listeners: dict[str, Listener] = {
            "vmc": vmc,
            "mqtt": MQTTListener(stack, host, broker.port),
            "ros2": ROS2Listener(stack, domain, interface),
            "zeromq": ZeroMQListener(stack, f"tcp://{node_host}:{zeromq_port}"),
            "sonic": SONICListener(stack, f"tcp://{node_host}:{sonic_port}"),
        }
        sinks: dict[str, dict[str, Any]] = {
            "zeromq": {"host": node_host, "port": zeromq_port, "insecure": True},
            "sonic": {"host": node_host, "port": sonic_port, "insecure": True},
            "vmc": {"host": host, "port": vmc.port},
            "mqtt": {"host": host, "port": broker.port},
            "ros2": {"domain": domain, "interface": node_interface},
        }
        config = {
            "sources": {"cam0": source},
            "lifter": {"weights": "small", "device": "cpu", "threads": 1, "max_age_ms": ANY_AGE_MS},
            "sinks": {
                kind: {"type": kind, "max_age_ms": max_age_ms, **settings} for kind, settings in sinks.items()
            },
        }
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "node.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        command = [sys.executable, "-m", "stream.cli", "run", str(path)]
        self.process = subprocess.Popen([*(link.command if link else []), *command], cwd=REPOSITORY)
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        self.wait_until_poses_arrive()

    def wait_until_poses_arrive(self) -> None:
        def arrived() -> bool:
            assert self.process.poll() is None
            self.play()
            heard = [listener.words() for listener in self.listeners.values()]
            return all("pose" in words for words in heard)

        wait_until(arrived)

    def heard(self) -> dict[str, list[str]]:
        """What each listener heard after the last pose; plays the camera meanwhile."""
        self.play()
        words = {kind: listener.words() for kind, listener in self.listeners.items()}
        return {
            kind: [word for n, word in enumerate(heard) if "pose" not in heard[n:]]
            for kind, heard in words.items()
        }

    def forget(self) -> None:
        for listener in self.listeners.values():
            listener.forget()

    def wait_until_heard(self, expected: dict[str, list[str]]) -> None:
        """Wait until each listener heard exactly these words after its last pose, and then only silence."""
        try:
            wait_until(lambda: self.heard() == expected)
        except AssertionError:
            assert self.heard() == expected  # shows the difference
        self.forget()
        end = time.monotonic() + QUIET_S
        while time.monotonic() < end:
            assert all("pose" not in words for words in self.heard().values())


class Camera:
    """Plays the keypoints of a walker to a node; `play` sends a frame when it is time for one."""

    def __init__(self, stack: ExitStack) -> None:
        context = stack.enter_context(zmq.Context())
        self._socket = stack.enter_context(context.socket(zmq.PUB))
        self._socket.set(zmq.LINGER, 0)
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.source = {"type": "keypoints_zmq", "endpoint": f"tcp://127.0.0.1:{port}"}
        walker = Synthetic(Synthetic.Settings(fps=FPS), ComponentContext("cam0"))
        self._walker = stack.enter_context(opened(walker))
        self.is_alive, self.shows_person = True, True

    def play(self) -> None:
        if not self.is_alive:
            return
        frame = self._walker.read(1 / FPS)
        assert isinstance(frame, KeypointFrame)
        header = replace(
            frame.header, captured_ns=time.monotonic_ns(), captured_unix_ns=time.time_ns()
        )  # as a camera does, however late the test is
        frame = replace(frame, header=header, persons=frame.persons if self.shows_person else ())
        self._socket.send_multipart([b"keypoints2d/v1/cam0/", encode_keypoints(frame, "msgpack")])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
