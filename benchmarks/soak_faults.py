"""The faults of a soak, one at a time."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import zmq
from soak_node import Node
from soak_peers import Broker, Camera, Senders

from stream.messages import Header, KeypointFrame
from stream.wire.codec import encode

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
