"""Age of poses and hop under overload of the lifter, in simulated time.

    python benchmarks/schedule.py [--persons 1 2 5] [--rate-hz 25] [--fixed-ms 0] [--loads 0.5 1 1.5 2 3]

Simulates cameras with `--persons` people each and one lifter that takes --fixed-ms per batch plus a time per
window that gives the load: with load 1 it can just lift every person in every frame, one window at a time. In
the second table the load rises from 0.5 to 3 and falls back. The lifter's time is simulated, the scheduler
and the buffers are the real ones, so the result does not depend on the machine. Prints tables, then one JSON
line.
"""

import argparse
import heapq
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.clock import FakeClock
from stream.health import Health
from stream.messages import Header, KeypointFrame, Keypoints, ModelInfo, PoseFrame, Window
from stream.postprocess.assemble import FrameAssembler, Publisher
from stream.protocols import ComponentContext
from stream.runtime.batch_lifter import BatchLifter
from stream.tracking.lifecycle import Lifecycle
from stream.tracking.tracker import Tracker
from stream.windows.camera_buffer import CameraBuffer

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

    def lift(self, windows: Sequence[Window], last: int | None = None) -> NDArray[np.float32]:
        each_s = self.each_s(len(self.batches)) if callable(self.each_s) else self.each_s
        self.batches.append(len(windows))
        self.clock.advance(self.fixed_s + each_s * len(windows))
        return np.stack([window.keypoints[-last if last else 0 :] for window in windows])


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
        self.lifecycles = {name: Lifecycle(Tracker(), predict_s=0.5) for name in cameras}
        self.buffers = {
            name: CameraBuffer(name, frames, each.lossless, 0.5, self.health)
            for name, each in cameras.items()
        }
        self.sent: dict[str, list[Published]] = {name: [] for name in cameras}
        self.brought = dict.fromkeys(cameras, 0)
        emitter = FrameAssembler("h36m17", ModelInfo("slow", "0"), "s", "live", lag)
        context = ComponentContext("lift", clock=self.clock, health=self.health)
        publisher = Publisher(emitter, [], self._send, context)
        self.batches = BatchLifter(self.lifter, publisher, hop, 0, context)

    def run(self, seconds: float) -> "Simulation":
        """Cameras bring frames for `seconds`; then all that waits is lifted."""
        due = [(each.phase_s, name) for name, each in self.cameras.items()]
        heapq.heapify(due)
        while due or self.batches.busy or any(not each.finished for each in self.buffers.values()):
            while due and due[0][0] <= self.clock.now_ns() / 1e9:
                at_s, name = heapq.heappop(due)
                self.bring(name, at_s)
                if at_s + 1 / self.cameras[name].rate_hz < seconds:
                    heapq.heappush(due, (at_s + 1 / self.cameras[name].rate_hz, name))
                else:
                    self.buffers[name].end()
            if not self.batches.lift_next_batch(self.buffers.values()) and due:
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

    def bring(self, name: str, at_s: float) -> None:
        at_ns = round(at_s * 1e9)
        xy = np.full((JOINTS, 2), self.brought[name], np.float32)
        score = np.ones(JOINTS, np.float32)
        people = tuple(Keypoints(xy, score, f"p{i}") for i in range(self.cameras[name].count(at_s)))
        header = Header(name, self.brought[name], at_ns, at_ns)
        frame = KeypointFrame(header, (640, 480), "h36m17", people, at_ns)
        self.buffers[name].push(frame, self.lifecycles[name].update(frame))
        self.brought[name] += 1

    def _send(self, frame: PoseFrame) -> None:
        self.sent[frame.header.source].append(Published(frame, self.clock.now_ns() / 1e9))


def main() -> None:
    arguments = parse()
    print(f"{'load':>5}{'people':>8}{'age ms p50':>12}{'p99':>8}{'hop mean':>10}{'max':>5}{'lost':>6}")
    rows = []
    for load in arguments.loads:
        for row in figures(simulated(arguments, load), arguments, load):
            print(f"{row['load']:>5}{row['people']:>8}{row['age_p50_ms']:>12}{row['age_p99_ms']:>8}", end="")
            print(f"{row['hop_mean']:>10}{row['hop_max']:>5}{row['lost']:>6}")
            rows.append(row)
    print("\nload 0.5 for 10 s, 3 for 10 s, 0.5 again: hop of the camera with most people, each half second")
    hops = step(arguments)
    print(" ".join(map(str, hops)))
    print(json.dumps({"benchmark": "schedule", "rate_hz": arguments.rate_hz, "fixed_ms": arguments.fixed_ms,
                      "rows": rows, "step_hops": hops}))  # fmt: skip


def simulated(arguments: argparse.Namespace, load: float) -> Simulation:
    cameras = {
        f"cam{i}": Camera(persons, arguments.rate_hz, phase_s=0.007 * i)
        for i, persons in enumerate(arguments.persons)
    }
    each_s = load / arguments.rate_hz / sum(arguments.persons)
    return Simulation(arguments.fixed_ms / 1e3, each_s, **cameras).run(arguments.seconds)


def figures(simulation: Simulation, arguments: argparse.Namespace, load: float) -> list[dict[str, float]]:
    rows = []
    for persons, (name, sent) in zip(arguments.persons, simulation.sent.items(), strict=True):
        ages = [each.age_ms for each in sent[len(sent) // 4 :]]
        hops = simulation.hops(name)[5:]
        rows.append(
            {
                "load": load, "people": persons,
                "age_p50_ms": round(float(np.percentile(ages, 50))),
                "age_p99_ms": round(float(np.percentile(ages, 99))),
                "hop_mean": round(float(np.mean(hops)), 1), "hop_max": max(hops),
                "lost": simulation.dropped(name),
            }
        )  # fmt: skip
    return rows


def step(arguments: argparse.Namespace) -> list[int]:
    """Hops over time while the time per window goes up sixfold and down again."""
    each_s = 0.5 / arguments.rate_hz / sum(arguments.persons)
    cameras = {f"cam{i}": Camera(persons, arguments.rate_hz) for i, persons in enumerate(arguments.persons)}
    simulation = Simulation(arguments.fixed_ms / 1e3, each_s, **cameras)
    busiest = f"cam{int(np.argmax(arguments.persons))}"
    simulation.lifter.each_s = lambda _: each_s * (6 if 10 <= simulation.clock.now_ns() / 1e9 < 20 else 1)
    simulation.run(30)
    sent = simulation.sent[busiest]
    return [next(each.frame.hop for each in sent if each.at_s >= at) for at in np.arange(0.5, 29.5, 0.5)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--persons", type=int, nargs="+", default=[1, 2, 5], help="of each camera")
    parser.add_argument("--rate-hz", type=float, default=25.0)
    parser.add_argument("--fixed-ms", type=float, default=0.0)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
