"""What a soaked node talks to: a camera with its detector, an MQTT broker, senders of keypoints."""

import contextlib
import random
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from pipeline import free_port

from stream.messages import Frame, Header, KeypointFrame, Keypoints
from stream.protocols import ComponentContext
from stream.wire.codec import encode
from stream.wire.topics import topic

RATE_HZ = 30.0
START_S = 120.0
BODY = np.random.default_rng(1).uniform(100, 400, (17, 2)).astype(np.float32)


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
