"""The soaked node: its config, its process, its memory, threads and descriptors."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from pipeline import free_port, memory_mib
from soak_peers import Broker, Camera, Senders

PREDICT_S = 0.5
CONFIG = """
sources:
  steady: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{steady}", topic: keypoints2d/v1/steady/}}
  crowd: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{steady}", topic: keypoints2d/v1/crowd/}}
  guests: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{guests}", bind: true}}
  camera:
    type: opencv
    url: "http://127.0.0.1:{camera}/video"
    read_timeout_s: 2
    open_timeout_s: 2
    frozen_s: 3
    detector: {{type: "soak_peers:BrightSpotDetector"}}
{extra}
lifter: {{weights: {weights}, threads: 1, predict_s: {predict_s}}}
sinks:
  zeromq: {{type: zeromq, port: {port}, queue: 10000}} # so that no loss is dropped
  mqtt: {{type: mqtt, host: 127.0.0.1, port: {broker}, max_hz: 30}}
  file: {{type: jsonl, path: "{folder}/poses.jsonl", max_mb: 2}}
status_s: 1
"""
EXTRA = '  extra: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{steady}", topic: keypoints2d/v1/extra/}}'


class Node:
    """The running node and its config."""

    def __init__(
        self, folder: Path, weights: Path | str, camera: Camera, broker: Broker, senders: Senders
    ) -> None:
        self.port, self.guests = free_port(), free_port()
        self._values = {
            **{"folder": folder, "weights": weights, "camera": camera.port, "broker": broker.port},
            **{"steady": senders.port, "guests": self.guests, "port": self.port, "predict_s": PREDICT_S},
        }
        self._config = folder / "soak.yaml"
        self.write_config(extra=False)
        self.log = folder / "node.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stream.cli", "run", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("wb"),
            env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}"},
        )

    def write_config(self, extra: bool) -> None:
        lines = EXTRA.format(**self._values) if extra else ""
        self._config.write_text(CONFIG.format(**self._values, extra=lines))

    def sample(self) -> tuple[float, int, int]:
        """Resident memory in MiB, threads, open descriptors."""
        folder = Path(f"/proc/{self.process.pid}")
        return (
            memory_mib(self.process.pid),
            len(list((folder / "task").iterdir())),
            len(list((folder / "fd").iterdir())),
        )

    def stop(self) -> int:
        """Exit code after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
