"""A node under faults for minutes or days: memory, threads, descriptors, stale poses and late losses.

    python benchmarks/soak.py MINUTES [--every-s 4] [--weights tiny] [--seed 0] [--only broker_killed ...]

`poselift run` lifts a camera (an MJPEG server with a detector of its own), a steady person, and a crowd of
people who come and go; it publishes over ZeroMQ and MQTT (a real mosquitto) and records. Every few seconds a
fault happens: the camera is dead, stalled or frozen, the broker is killed or stopped, a subscriber is killed,
stopped or slow, the sender of the steady person pauses, junk arrives, or a camera is added and removed.

Counted by subscribers on both transports: poses that are stale and not marked so, people whose loss is
announced late, twice or never, poses out of order. Sampled every second from the second minute on (in short
runs after 40 % of the time): resident memory, threads and open descriptors of the node. Prints a table, then
one JSON line; exits with 1 when a count is above 0 or one of the three grows.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from pipeline import free_port, memory_mib, tiny

from lifter.machine import machine
from stream.messages import Frame, Header, KeypointFrame, Keypoints
from stream.protocols import ComponentContext
from stream.wire.codec import encode
from stream.wire.topics import topic

RATE_HZ = 30.0
START_S = 120.0
PREDICT_S = 0.5
STALE_S = 10.0  # an `ok` pose that arrives this long after its capture; limits of the node are 2 to 3 s
LATE_S = 15.0  # between the last detection of a person and the announcement of the loss
MAX_GROWTH_MIB, MAX_SLOPE_MIB_PER_MIN = 24.0, 0.5
MAX_MORE_THREADS, MAX_MORE_DESCRIPTORS = 4, 12
BODY = np.random.default_rng(1).uniform(100, 400, (17, 2)).astype(np.float32)
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
    detector: {{type: "soak:BrightSpotDetector"}}
{extra}
lifter: {{weights: {weights}, threads: 1, predict_s: {predict_s}}}
sinks:
  zeromq: {{type: zeromq, port: {port}, queue: 10000}} # so that no loss is dropped
  mqtt: {{type: mqtt, host: 127.0.0.1, port: {broker}, max_hz: 30}}
  file: {{type: jsonl, path: "{folder}/poses.jsonl", max_mb: 2}}
status_s: 1
"""
EXTRA = '  extra: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{steady}", topic: keypoints2d/v1/extra/}}'


class BrightSpotDetector:
    """A detector of one person, who stands where the image is brightest."""

    class Settings(msgspec.Struct, frozen=True):
        """No settings."""

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._clock = context.clock

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def detect(self, frame: Frame) -> KeypointFrame:
        image = frame.image
        column = int(image[:, :, 1].max(axis=0).argmax())
        person = Keypoints(BODY / 4 + np.float32([column, 0]), np.ones(17, np.float32))
        size_wh = image.shape[1], image.shape[0]
        return KeypointFrame(frame.header, size_wh, "h36m17", (person,), self._clock.now_ns())


class Camera:
    """An MJPEG server whose state is live, frozen (one picture again and again), stalled or dead."""

    def __init__(self) -> None:
        import cv2

        self.state = "live"
        self._number = 0
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if camera.state == "dead":
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
                self.end_headers()
                try:
                    while camera.state != "dead":
                        if camera.state != "stalled":
                            data = camera.picture(cv2)
                            head = (
                                f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                            )
                            self.wfile.write(head.encode() + data + b"\r\n")
                        time.sleep(1 / 15)
                except OSError:
                    pass

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def picture(self, cv2: Any) -> bytes:
        if self.state == "live":
            self._number += 1
        image = np.zeros((180, 320, 3), np.uint8)
        column = 40 + self._number % 200
        image[60:120, column : column + 20] = 255
        return bytes(cv2.imencode(".jpg", image)[1])

    def close(self) -> None:
        self.state = "dead"
        self._server.shutdown()


class Broker:
    """A real mosquitto that can be killed, stopped and started again on its port."""

    def __init__(self, folder: Path) -> None:
        path = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
        binary = shutil.which("mosquitto", path=path)
        if binary is None:
            raise SystemExit("the soak needs the mosquitto broker: apt-get install mosquitto")
        config = folder / "mosquitto.conf"
        self._command = [binary, "-c", str(config)]
        for _ in range(20):  # another program may take the free port first
            self.port = free_port()
            config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
            self.process = self._start()
            if self._answers():
                return
        raise SystemExit("mosquitto does not start")

    def _answers(self) -> bool:
        until_s = time.monotonic() + START_S
        while self.process.poll() is None and time.monotonic() < until_s:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            time.sleep(0.05)
        return False

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        if self.process.poll() is not None:
            self.process = self._start()

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)


class Senders:
    """Sends the steady person, the extra camera and the crowd; `paused` stops the steady person."""

    def __init__(self, rng: random.Random) -> None:
        self.paused = False
        self._rng = rng
        self._socket = zmq.Context.instance().socket(zmq.PUB)
        self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self._crowd: dict[int, float] = {}  # people by number, and when each of them leaves
        self._numbers = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        start_s, tick = time.monotonic(), 0
        while not self._stop.is_set():
            if not self.paused:
                self._send("steady", tick, [Keypoints(BODY + np.float32(tick % 50), np.ones(17, np.float32))])
            self._send("extra", tick, [Keypoints(BODY + np.float32(tick % 30), np.ones(17, np.float32))])
            self._send("crowd", tick, self._people(tick))
            tick += 1
            self._stop.wait(max(0.0, start_s + tick / RATE_HZ - time.monotonic()))

    def _people(self, tick: int) -> list[Keypoints]:
        now_s = time.monotonic()
        self._crowd = {number: end_s for number, end_s in self._crowd.items() if end_s > now_s}
        if len(self._crowd) < 5 and self._rng.random() < 0.03:
            self._numbers += 1
            self._crowd[self._numbers] = now_s + self._rng.uniform(0.5, 6.0)
        return [
            Keypoints(BODY + np.float32([150 * (number % 6), tick % 20]), np.ones(17, np.float32))
            for number in self._crowd
        ]

    def _send(self, name: str, seq: int, persons: list[Keypoints]) -> None:
        header = Header(name, seq, time.monotonic_ns(), time.time_ns())
        frame = KeypointFrame(header, (1280, 720), "h36m17", tuple(persons), 0)
        self._socket.send_multipart([topic("keypoints2d", name), encode(frame)])

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close(0)


class _Person(msgspec.Struct):
    id: str
    state: str


class _Poses(msgspec.Struct):
    """The part of a pose3d document that the counts need."""

    source: str
    session: str
    t_capture_ns: int
    persons: list[_Person]


@dataclass
class Checker:
    """Counts what a subscriber must not see. name: of the transport. complete: whether all poses come."""

    name: str
    complete: bool
    poses: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    oldest_s: float = 0.0
    latest_loss_s: float = 0.0
    examples: list[str] = field(default_factory=list)
    drops: dict[str, int] = field(default_factory=dict)  # of the node, by its last status message
    _present: dict[tuple[str, str], int] = field(default_factory=dict)  # last detection, unix ns
    _lost: set[tuple[str, str]] = field(default_factory=set)

    def take(self, poses: _Poses) -> None:
        """Check one message, which has just arrived."""
        self.poses += 1
        age_s = (time.time_ns() - poses.t_capture_ns) / 1e9
        if any(person.state in ("new", "ok") for person in poses.persons):
            self.oldest_s = max(self.oldest_s, age_s)
            if age_s > STALE_S:
                self._fault("stale", f"{poses.source}: {age_s:.1f} s old")
        for person in poses.persons:
            key = poses.source, person.id
            if person.state in ("new", "ok"):
                if key in self._lost:
                    self._fault("back_after_lost", f"{key}")
                self._present[key] = poses.t_capture_ns
            elif person.state == "lost":
                if key in self._lost:
                    self._fault("lost_twice", f"{key}")
                self._lost.add(key)
                self._check_loss(key, poses.t_capture_ns)
        if self.complete:
            self._check_missing(poses)

    def _check_loss(self, key: tuple[str, str], at_ns: int) -> None:
        last_ns = self._present.pop(key, at_ns)
        self.latest_loss_s = max(self.latest_loss_s, (at_ns - last_ns) / 1e9)
        if at_ns - last_ns > LATE_S * 1e9:
            self._fault("late_loss", f"{key}: {(at_ns - last_ns) / 1e9:.1f} s")

    def _check_missing(self, poses: _Poses) -> None:
        """People of the source who are neither in its newest frames nor lost."""
        for key, last_ns in list(self._present.items()):
            if key[0] == poses.source and poses.t_capture_ns - last_ns > LATE_S * 1e9:
                del self._present[key]
                self._fault("never_lost", f"{key}")

    def _fault(self, kind: str, text: str) -> None:
        self.faults[kind] += 1
        if len(self.examples) < 10:
            self.examples.append(f"{self.name} {kind}: {text}")


def check_zeromq(port: int, checker: Checker, stop: threading.Event) -> None:
    decode = msgspec.msgpack.Decoder(_Poses).decode
    receiver: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    receiver.set(zmq.RCVHWM, 0)
    receiver.subscribe(b"pose3d/")
    receiver.subscribe(b"status/")
    receiver.connect(f"tcp://127.0.0.1:{port}")
    while not stop.is_set():
        if receiver.poll(200):
            kind, payload = receiver.recv_multipart()
            if kind.startswith(b"pose3d/"):
                checker.take(decode(payload))
            else:
                counters = msgspec.msgpack.decode(payload)["report"]["counters"]
                checker.drops = {name: count for name, count in counters.items() if ".drop." in name}
    receiver.close(0)


def check_mqtt(port: int, checker: Checker, stop: threading.Event) -> None:
    import paho.mqtt.client as paho

    decode = msgspec.json.Decoder(_Poses).decode
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda client, *_: client.subscribe("poselift/+/pose3d")
    client.on_message = lambda client, data, message: checker.take(decode(message.payload))
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    stop.wait()
    client.loop_stop()


VICTIM = """
import sys, time
from stream import subscribe
for poses in subscribe(sys.argv[1]):
    time.sleep(float(sys.argv[2]))
"""


class Faults:
    """What can go wrong, one at a time; each ends before the next one begins."""

    def __init__(
        self,
        rng: random.Random,
        node: "Node",
        camera: Camera,
        broker: Broker,
        senders: Senders,
        only: list[str],
    ) -> None:
        self._only = only
        self.counts: Counter[str] = Counter()
        self._rng, self._node, self._camera, self._broker, self._senders = rng, node, camera, broker, senders
        self._junk = zmq.Context.instance().socket(zmq.PUB)
        self._junk.connect(f"tcp://127.0.0.1:{node.guests}")
        self._kinds: dict[str, Callable[[float], None]] = {
            "camera_dead": lambda seconds: self._camera_state("dead", seconds),
            "camera_stalled": lambda seconds: self._camera_state("stalled", seconds),
            "camera_frozen": lambda seconds: self._camera_state("frozen", seconds + 3),
            "broker_killed": self._broker_killed,
            "broker_stopped": self._broker_stopped,
            "subscriber_killed": lambda seconds: self._subscriber(0.0, seconds, None),
            "subscriber_stopped": lambda seconds: self._subscriber(0.0, seconds, signal.SIGSTOP),
            "subscriber_slow": lambda seconds: self._subscriber(0.5, seconds, None),
            "sender_paused": self._sender_paused,
            "junk": self._send_junk,
            "camera_added_and_removed": self._reload,
        }

    def next(self, seconds: float) -> None:
        """Cause a fault for about so long; first each kind once, then at random."""
        kinds = self._only or list(self._kinds)
        left = [kind for kind in kinds if not self.counts[kind]]
        kind = left[0] if left else self._rng.choice(kinds)
        self.counts[kind] += 1
        self._kinds[kind](seconds)

    def _camera_state(self, state: str, seconds: float) -> None:
        self._camera.state = state
        time.sleep(seconds)
        self._camera.state = "live"

    def _broker_killed(self, seconds: float) -> None:
        self._broker.kill()
        time.sleep(seconds / 2)
        self._broker.restart()
        time.sleep(seconds / 2)

    def _broker_stopped(self, seconds: float) -> None:
        self._broker.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._broker.signal(signal.SIGCONT)

    def _subscriber(self, pause_s: float, seconds: float, number: int | None) -> None:
        command = [sys.executable, "-c", VICTIM, f"tcp://127.0.0.1:{self._node.port}", str(pause_s)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as victim:
            time.sleep(seconds / 2)
            if number is not None:
                victim.send_signal(number)
            time.sleep(seconds / 2)
            victim.kill()

    def _sender_paused(self, seconds: float) -> None:
        self._senders.paused = True
        time.sleep(min(seconds, 2.0))
        self._senders.paused = False

    def _send_junk(self, seconds: float) -> None:
        good = encode(KeypointFrame(Header("guest", 1, 0, time.time_ns()), (640, 480), "h36m17", (), 0))
        for _ in range(round(300 * seconds)):
            data = bytearray(good if self._rng.random() < 0.5 else self._rng.randbytes(200))
            data[self._rng.randrange(len(data))] = self._rng.randrange(256)
            self._junk.send_multipart([b"keypoints2d/v1/guest/", bytes(data)])
            time.sleep(1 / 300)

    def _reload(self, seconds: float) -> None:
        for extra in (True, False):
            self._node.write_config(extra)
            self._node.process.send_signal(signal.SIGHUP)
            time.sleep(max(seconds / 2, 2.5))


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


def main() -> None:
    arguments = parse()
    rng, stop = random.Random(arguments.seed), threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        camera, broker, senders = Camera(), Broker(folder), Senders(random.Random(arguments.seed + 1))
        weights = tiny(folder) if arguments.weights == "tiny" else arguments.weights
        node = Node(folder, weights, camera, broker, senders)
        checkers = Checker("zeromq", complete=True), Checker("mqtt", complete=False)
        threads = [
            threading.Thread(target=check_zeromq, args=(node.port, checkers[0], stop)),
            threading.Thread(target=check_mqtt, args=(broker.port, checkers[1], stop)),
        ]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: all(checker.poses > 30 for checker in checkers), node)
            faults = Faults(rng, node, camera, broker, senders, arguments.only)
            samples = soak(arguments, node, faults)
        finally:
            code = node.stop()
            stop.set()
            for thread in threads:
                thread.join()
            senders.close()
            camera.close()
            broker.signal(signal.SIGCONT)
            broker.kill()
        log = node.log.read_text(errors="replace")
    sys.exit(report(arguments, checkers, faults, samples, code, log))


def wait_for(condition: Callable[[], bool], node: Node) -> None:
    until_s = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > until_s or node.process.poll() is not None:
            raise SystemExit(f"the node published nothing:\n{node.log.read_text()}")
        time.sleep(0.1)


def soak(arguments: argparse.Namespace, node: Node, faults: Faults) -> list[tuple[float, float, int, int]]:
    """Cause faults until the time is over; (minutes, MiB, threads, descriptors) of every second."""
    samples: list[tuple[float, float, int, int]] = []
    start_s, ended = time.monotonic(), threading.Event()

    def cause_faults() -> None:
        while not ended.is_set():
            faults.next(arguments.every_s * 0.75)
            ended.wait(arguments.every_s * 0.25)

    thread = threading.Thread(target=cause_faults)
    thread.start()
    while (elapsed_s := time.monotonic() - start_s) < 60 * arguments.minutes and node.process.poll() is None:
        samples.append((elapsed_s / 60, *node.sample()))
        time.sleep(1.0)
    ended.set()
    thread.join()
    return samples


def report(
    arguments: argparse.Namespace,
    checkers: tuple[Checker, ...],
    faults: Faults,
    samples: list[tuple[float, float, int, int]],
    code: int,
    log: str,
) -> int:
    """Print the result; 1 when anything is wrong."""
    warm_up = min(1.0, 0.4 * arguments.minutes)
    measured = np.array([sample for sample in samples if sample[0] >= warm_up])
    part = max(1, len(measured) // 4)
    first, last = measured[:part], measured[-part:]
    slope = float(np.polyfit(measured[:, 0], measured[:, 1], 1)[0])
    growth = float(np.median(last[:, 1]) - np.median(first[:, 1]))
    # Faults open and close threads and descriptors all the time: what leaks shows in the smallest numbers.
    threads, descriptors = ((int(first[:, n].min()), int(last[:, n].min())) for n in (2, 3))
    wrong = [f"{checker.name}: {dict(checker.faults)}" for checker in checkers if checker.faults]
    if growth > MAX_GROWTH_MIB and slope > MAX_SLOPE_MIB_PER_MIN:
        wrong.append(f"memory grew by {growth:.1f} MiB")
    if threads[1] > threads[0] + MAX_MORE_THREADS or descriptors[1] > descriptors[0] + MAX_MORE_DESCRIPTORS:
        wrong.append(f"threads {threads}, descriptors {descriptors}")
    if "Traceback" in log:
        wrong.append(f"the node's log has {log[log.index('Traceback') - 200 :][:3000]}")
    if code != 0:
        wrong.append(f"the node ended with {code}; its log ends with {log[-2000:]}")
    for checker in checkers:
        print(
            f"{checker.name:8} {checker.poses} poses, oldest {checker.oldest_s:.2f} s, "
            f"latest loss {checker.latest_loss_s:.2f} s, {dict(checker.faults) or 'nothing wrong'}"
        )
        for example in checker.examples:
            print(f"    {example}")
    print(f"drops    {checkers[0].drops}")
    print(f"faults   {dict(faults.counts)}")
    print(
        f"memory   {first[0, 1]:.1f} to {last[-1, 1]:.1f} MiB, "
        f"slope {slope:.2f} MiB/min, growth {growth:.1f} MiB"
    )
    minutes = {int(minute): mib for minute, mib, *_ in samples}  # the last sample of each minute
    print(f"by minute {' '.join(f'{mib:.0f}' for mib in minutes.values())}")
    print(f"threads  {threads[0]} to {threads[1]}, descriptors {descriptors[0]} to {descriptors[1]}")
    for line in wrong:
        print(f"WRONG    {line}")
    summary = {
        **{"benchmark": "soak", "machine": machine().text(), "minutes": arguments.minutes},
        **{
            "faults": dict(faults.counts),
            "slope_mib_per_min": round(slope, 3),
            "growth_mib": round(growth, 2),
        },
        **{"rss_mib": [round(first[0, 1], 1), round(last[-1, 1], 1)], "threads": threads},
        **{"descriptors": descriptors, "wrong": wrong},
        **{checker.name: {"poses": checker.poses, **checker.faults} for checker in checkers},
    }
    print(json.dumps(summary))
    return 1 if wrong else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--every-s", type=float, default=4.0, help="seconds from one fault to the next")
    parser.add_argument("--weights", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="kinds of faults; default: all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
