"""A day at the lift thread in simulated time: cameras that bring people, a lifter that takes its time."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stream.clock import FakeClock
from stream.emit import Emitter
from stream.finish import Finish
from stream.health import Health
from stream.intake import Intake
from stream.lifting import Lifting
from stream.messages import Header, KeypointFrame, Keypoints, ModelInfo, PoseFrame

JOINTS = 2


@dataclass
class Spec:
    frames: int = 243


class Slow:
    """A lifter that takes `fixed_s` per batch and `each_s` per window; its poses are the keypoints.

    each_s: or how long in which batch, counted from 0.
    """

    def __init__(
        self, clock: FakeClock, fixed_s: float, each_s: float | Callable[[int], float], frames: int
    ) -> None:
        self.spec = Spec(frames)
        self.clock, self.fixed_s, self.each_s = clock, fixed_s, each_s
        self.batches: list[int] = []

    def lift(self, windows):
        each_s = self.each_s(len(self.batches)) if callable(self.each_s) else self.each_s
        self.batches.append(len(windows))
        self.clock.advance(self.fixed_s + each_s * len(windows))
        return np.stack([window.keypoints for window in windows])


@dataclass(frozen=True)
class Camera:
    """persons: how many it sees, or how many at a time in seconds."""

    persons: int | Callable[[float], int]
    rate_hz: float = 50.0
    phase_s: float = 0.0
    lossless: bool = False

    def count(self, at_s: float) -> int:
        return self.persons if isinstance(self.persons, int) else self.persons(at_s)


@dataclass(frozen=True)
class Published:
    frame: PoseFrame
    at_s: float

    @property
    def seq(self) -> int:
        return self.frame.header.seq

    @property
    def age_ms(self) -> float:
        return 1e3 * self.at_s - self.frame.header.captured_ns / 1e6


class Simulation:
    """Cameras in front of one lifter."""

    def __init__(self, fixed_s=0.0, each_s=0.035, hop="auto", lag=0, frames=243, **cameras: Camera) -> None:
        self.clock = FakeClock(0, 0)
        self.health = Health()
        self.cameras = cameras
        self.lifter = Slow(self.clock, fixed_s, each_s, frames)
        self.intakes = {
            name: Intake(name, frames, each.lossless, 0.5, self.health) for name, each in cameras.items()
        }
        self.sent: dict[str, list[Published]] = {name: [] for name in cameras}
        self.brought = dict.fromkeys(cameras, 0)
        emitter = Emitter("h36m17", ModelInfo("slow", "0"), "s", "live", lag)
        finish = Finish(lambda *_: [])
        self.lifting = Lifting(self.lifter, emitter, hop, 0, finish, self.clock, self.health, self._send)

    def run(self, seconds: float) -> "Simulation":
        """Cameras bring frames for `seconds`; then all that waits is lifted."""
        due = [(each.phase_s, name) for name, each in self.cameras.items()]
        heapq.heapify(due)
        while due or self.lifting.busy or any(not each.finished for each in self.intakes.values()):
            while due and due[0][0] <= self.clock.now_ns() / 1e9:
                at_s, name = heapq.heappop(due)
                self._bring(name, at_s)
                if at_s + 1 / self.cameras[name].rate_hz < seconds:
                    heapq.heappush(due, (at_s + 1 / self.cameras[name].rate_hz, name))
                else:
                    self.intakes[name].end()
            if not self.lifting.once(self.intakes.values()) and due:
                self.clock.advance(max(due[0][0] - self.clock.now_ns() / 1e9, 1e-9))
        return self

    def dropped(self, name: str) -> int:
        return self.health.dropped(name)

    def hops(self, name: str) -> list[int]:
        """Frames of each pass, in order."""
        sent, hops = [each.frame.hop for each in self.sent[name]], []
        while sent:
            hops.append(sent[0])
            sent = sent[sent[0] :]
        return hops

    def _bring(self, name: str, at_s: float) -> None:
        at_ns = round(at_s * 1e9)
        xy = np.full((JOINTS, 2), self.brought[name], np.float32)
        score = np.ones(JOINTS, np.float32)
        people = tuple(Keypoints(xy, score, f"p{i}") for i in range(self.cameras[name].count(at_s)))
        header = Header(name, self.brought[name], at_ns, at_ns)
        self.intakes[name].accept(KeypointFrame(header, (640, 480), "h36m17", people, at_ns))
        self.brought[name] += 1

    def _send(self, frame: PoseFrame) -> None:
        self.sent[frame.header.source].append(Published(frame, self.clock.now_ns() / 1e9))
