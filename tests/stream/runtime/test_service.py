"""The service as users run it: a process with real sockets, stopped by a signal."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq

CONFIG = """
node: test
sources:
  net: {{type: keypoints_zmq, endpoint: "{incoming}"}}
lifter: {{weights: "{weights}", device: cpu, threads: 1, predict_s: 0.3}}
tracking: {{confirm_frames: 1}}
sinks:
  zeromq: {{type: zeromq, port: {port}}}
  file: {{type: jsonl, path: "{folder}/poses.jsonl"}}
status_s: 0.5
"""
WAIT_MS = 60_000


def keypoints(seq: int, t_ns: int) -> list[bytes]:
    """A keypoints2d message made with msgpack alone, as another program would."""
    joints = np.full((17, 3), 0.9, "<f4")
    joints[:, 0] = 300 + 10 * np.arange(17) + seq % 7
    joints[:, 1] = 200 + 10 * np.arange(17)
    message = {
        "v": 1,
        "schema": "keypoints2d",
        "source": "cam0",
        "seq": seq,
        "t_capture_ns": t_ns,
        "size_wh": [640, 480],
        "skeleton": "coco17",
        "persons": [{"kp": joints.tobytes()}],
    }
    return [b"keypoints2d/v1/cam0/", msgpack.packb(message)]


class RunningService:
    """A service process, a sender of keypoints and a subscriber of poses."""

    def __init__(self, weights: Path, folder: Path) -> None:
        context = zmq.Context.instance()
        self.sender = context.socket(zmq.PUB)
        incoming = f"tcp://127.0.0.1:{self.sender.bind_to_random_port('tcp://127.0.0.1')}"
        with context.socket(zmq.PUB) as probe:
            port = probe.bind_to_random_port("tcp://127.0.0.1")
        self.subscriber = context.socket(zmq.SUB)
        self.subscriber.connect(f"tcp://127.0.0.1:{port}")
        self.subscriber.subscribe(b"")
        self.folder = folder
        path = folder / "service.yaml"
        path.write_text(CONFIG.format(incoming=incoming, weights=weights, port=port, folder=folder))
        command = [sys.executable, "-m", "stream.cli", "run", str(path)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.seq = 0

    def receive(self, topic: bytes, sending: bool = True, invalid: bytes | None = None) -> dict:
        """The next document on `topic`, with a frame of keypoints sent every 10 ms meanwhile."""
        for _ in range(WAIT_MS // 10):
            if sending:
                self.sender.send_multipart(keypoints(self.seq, time.time_ns()))
                self.seq += 1
            if invalid is not None:
                self.sender.send_multipart([b"keypoints2d/v1/cam0/", invalid])
            while self.subscriber.poll(10):
                received_topic, payload = self.subscriber.recv_multipart()
                if received_topic == topic:
                    return msgpack.unpackb(payload)
        raise AssertionError(f"no message on {topic!r}")

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Stop the process by a signal; its exit code and its output."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output


@pytest.fixture
def running(tiny_weights: Path, tmp_path: Path) -> Iterator[RunningService]:
    service = RunningService(tiny_weights, tmp_path)
    yield service
    service.process.kill()
    service.process.wait()
    service.sender.close(0)
    service.subscriber.close(0)


def test_keypoints_sent_to_the_service_come_back_as_poses(running: RunningService):
    pose = running.receive(b"pose3d/v1/cam0/")
    person = pose["persons"][0]
    assert (pose["v"], pose["schema"], pose["source"], pose["skeleton"]) == (1, "pose3d", "cam0", "h36m17")
    assert len(person["xyz"]) == 17 * 3 * 4
    assert np.isfinite(np.frombuffer(person["xyz"], "<f4")).all()
    assert pose["t_publish_ns"] >= pose["t_capture_ns"]
    assert pose["window"]["frames"] == 27
    assert running.receive(b"meta/v1/cam0/")["joints"][0] == "pelvis"
    report = running.receive(b"status/v1/test/")["report"]
    assert report["counters"]["cam0.frames"] > 0


def test_undecodable_messages_are_counted_and_the_service_goes_on(running: RunningService):
    running.receive(b"pose3d/v1/cam0/")
    running.receive(b"pose3d/v1/cam0/", invalid=b"\xff" * 100)
    for _ in range(20):
        report = running.receive(b"status/v1/test/", invalid=b"\x93")["report"]
        if any(".drop." in name for name in report["counters"]):
            break
    assert any(".drop." in name and n > 0 for name, n in report["counters"].items())
    assert running.receive(b"pose3d/v1/cam0/")["persons"]


def test_people_of_a_silent_sender_are_lost_once(running: RunningService):
    assert running.receive(b"pose3d/v1/cam0/")["persons"][0]["state"] in ("new", "ok")
    states = []
    while "lost" not in states:
        message = running.receive(b"pose3d/v1/cam0/", sending=False)
        states += [person["state"] for person in message["persons"]]
    assert states[-1] == "lost"
    assert np.isnan(np.frombuffer(message["persons"][-1]["xyz"], "<f4")).all()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_service_cleanly_and_all_poses_are_flushed(
    running: RunningService, number: signal.Signals
):
    last = running.receive(b"pose3d/v1/cam0/")["seq"]
    code, output = running.stop(number)
    assert code == 0, output
    assert "stopped." in output
    assert "Traceback" not in output
    lines = (running.folder / "poses.jsonl").read_text().splitlines()
    recorded = [json.loads(line) for line in lines]
    assert last in [line["seq"] for line in recorded if line["schema"] == "pose3d"]


def test_a_second_node_on_the_same_port_ends_with_one_error(
    tiny_weights: Path, tmp_path: Path, running: RunningService
):
    text = (running.folder / "service.yaml").read_text().replace("poses.jsonl", "other.jsonl")
    (tmp_path / "second.yaml").write_text(text)
    running.receive(b"pose3d/v1/cam0/")
    command = [sys.executable, "-m", "stream.cli", "run", str(tmp_path / "second.yaml")]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (second.returncode, "Traceback" in second.stderr) == (1, False), second.stderr
    (error,) = [line for line in second.stderr.splitlines() if line.startswith("error: ")]
    assert "cannot be bound: Address already in use" in error
    assert running.receive(b"pose3d/v1/cam0/")["persons"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: {a: {type: webcam}}\nsinks: {c: {type: console}}", "sources.a.type: expected one of"),
        ("sources: [", "not valid YAML"),
        (
            "sources: {a: {type: recording, path: /nope.npz}}\n"
            "lifter: {weights: TINY}\nsinks: {c: {type: console}}",
            "/nope.npz",
        ),
    ],
)
def test_config_errors_exit_with_code_2(tiny_weights: Path, tmp_path: Path, text: str, message: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text.replace("TINY", str(tiny_weights)))
    finished = subprocess.run(
        [sys.executable, "-m", "stream.cli", "run", str(path)], capture_output=True, text=True, timeout=60
    )
    assert (finished.returncode, "Traceback" in finished.stderr) == (2, False), finished.stderr
    assert finished.stderr.startswith("error: ")
    assert message in finished.stderr
