"""Stability of person ids in crowds that cross, occlude each other and are sometimes not detected.

    python benchmarks/tracking.py [--fps 25] [--runs 10] [--seconds 12]

A virtual camera films walkers with known identity. When two walkers overlap by half or more, the farther one
is not detected; with less overlap it loses the covered joints. Of the other detections every tenth is
missing, joints are noisy, and there are occasional false detections.
  lines    walkers cross the image at different depths and meet near its middle
  circles  walkers move on separate circles: crossings, overtaking, leaving and entering the image
  return   as lines, but all walkers turn back where they meet, so motion predicts the wrong person
Per crowd, summed over runs: detections; switches (a person continues with the id of another person);
fragments (a person continues with a new id); published false detections; IDF1 in %; CPU time per frame. A
person who is not detected for longer than the tracker's memory counts as a new person. Prints a table, then
one JSON line.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lifter.machine import machine
from sources.walking_figure import VirtualCamera, Walk, figure
from stream.messages import Header, KeypointFrame, Keypoints
from stream.rotations import F64
from stream.tracking.association import solve_assignment
from stream.tracking.tracker import Tracker

CAMERA = VirtualCamera(position_m=(8.0, 0.0, 1.5))
SCENES = ("lines", "circles", "return")
PEOPLE = (2, 3, 4, 6)
NOISE_PX, MISSING, FALSE = 3.0, 0.1, 0.01
MISSING_S = 0.5  # for so long the tracker keeps a track without detections
HIDDEN = 0.5  # of a person's box inside a nearer one's


@dataclass(slots=True)
class Tally:
    """What became of the detections of a crowd, summed over runs."""

    detections: int = 0
    switches: int = 0
    fragments: int = 0
    false: int = 0
    published: int = 0
    matched: int = 0
    ms: list[float] = field(default_factory=list)

    def plain(self) -> dict[str, float]:
        return {
            "detections": self.detections,
            "switches": self.switches,
            "fragments": self.fragments,
            "false": self.false,
            "idf1": round(200 * self.matched / max(self.detections + self.published, 1), 2),
            "p50_ms": round(float(np.percentile(self.ms, 50)), 3),
            "p99_ms": round(float(np.percentile(self.ms, 99)), 3),
        }


def main() -> None:
    arguments = parse()
    print(machine().text())
    print(f"{arguments.runs} runs of {arguments.seconds:g} s at {arguments.fps:g} frames per second")
    names = Tally(ms=[0.0]).plain()
    print(f"{'crowd':<12}" + "".join(f"{name:>12}" for name in names))
    results = {}
    for scene in SCENES:
        for people in PEOPLE:
            tally = Tally()
            for run in range(arguments.runs):
                follow(arguments, scene, people, run, tally)
            results[f"{scene} {people}"] = row = tally.plain()
            print(f"{scene + ' ' + str(people):<12}" + "".join(f"{value:>12g}" for value in row.values()))
    print(json.dumps({"benchmark": "tracking", "fps": arguments.fps, "runs": arguments.runs, **results}))


def follow(arguments: argparse.Namespace, scene: str, people: int, run: int, tally: Tally) -> None:
    """Track one crowd and add what happened to `tally`."""
    tracker = Tracker(None, MISSING_S, seed=run, lookahead=arguments.patient)
    frames = list(crowd(arguments, scene, people, run))
    out = []
    for frame, _ in frames:
        began = time.thread_time()
        out += tracker.update(frame)
        tally.ms.append((time.thread_time() - began) * 1e3)
    compare(frames, out + tracker.flush(), tally)


def compare(frames: list[tuple[KeypointFrame, list[int]]], out: list[KeypointFrame], tally: Tally) -> None:
    """Whose each published id is, against whose each detection was."""
    who: dict[
        int, tuple[int, int]
    ] = {}  # identity of a detection's array -> person, how often they came back
    seen_ns: dict[int, int] = {}
    back: Counter[int] = Counter()
    for frame, names in frames:
        for person, name in zip(frame.persons, names, strict=True):
            back[name] += frame.header.captured_ns - seen_ns.get(name, 0) > MISSING_S * 1e9
            seen_ns[name] = frame.header.captured_ns
            who[id(person.xy)] = (name, back[name])
            tally.detections += name >= 0
    last: dict[tuple[int, int], str] = {}
    together: Counter[tuple[tuple[int, int], str]] = Counter()
    used: set[str] = set()
    for person in (person for frame in out for person in frame.persons):
        assert person.id is not None
        tally.published += 1
        name = who[id(person.xy)]
        if name[0] < 0:
            tally.false += 1
            continue
        if last.get(name) != person.id:
            tally.switches += person.id in used
            tally.fragments += name in last and person.id not in used
        last[name] = person.id
        used.add(person.id)
        together[name, person.id] += 1
    names = sorted(set(who.values()))
    common = np.array([[together[name, id] for id in sorted(used)] for name in names], float)
    tally.matched += int(sum(common[row, column] for row, column in solve_assignment(-common)))


def crowd(
    arguments: argparse.Namespace, scene: str, people: int, run: int
) -> Iterator[tuple[KeypointFrame, list[int]]]:
    """Frames of detections, and the walker of each detection (-1: a false detection)."""
    random = np.random.default_rng((SCENES.index(scene), people, run))
    walks = [walk(scene, person, people, arguments.seconds, random) for person in range(people)]
    for seq in range(round(arguments.seconds * arguments.fps)):
        t_s = seq / arguments.fps
        if scene == "return":
            t_s = min(t_s, arguments.seconds - t_s)
        bodies = CAMERA.view(np.array([figure(t_s, each) for each in walks]))
        found = detect(bodies, random)
        order = random.permutation(len(found))
        at_ns = round(seq * 1e9 / arguments.fps)
        persons = tuple(found[index][1] for index in order)
        header = Header("crowd", seq, at_ns, at_ns)
        frame = KeypointFrame(header, CAMERA.size_wh, "h36m17", persons, at_ns)
        yield frame, [found[index][0] for index in order]


def walk(scene: str, person: int, people: int, seconds: float, random: np.random.Generator) -> Walk:
    height, phase, speed = random.uniform(1.55, 1.9), random.uniform(), random.uniform(0.8, 1.5)
    if scene == "circles":
        centre = (random.uniform(-1.0, 2.0), random.uniform(-1.0, 1.0))
        start = random.uniform(0, 2 * np.pi)
        return Walk(height, speed, centre, random.uniform(1.0, 2.4), start, phase)
    # A circle so large that it is a line: to the right beyond its centre's far side, to the left before it.
    depth_m = 3.4 + 4.0 * (person + random.uniform(0.3, 0.7)) / people  # from the camera
    side = 1 if person % 2 else -1
    radius = 60.0
    centre = (8.0 - depth_m - side * radius, random.uniform(-0.4, 0.4))
    start = (0.0 if side > 0 else np.pi) - speed * seconds / 2 / radius
    return Walk(height, speed, centre, radius, start, phase)


def detect(bodies: F64, random: np.random.Generator) -> list[tuple[int, Keypoints]]:
    """What a detector finds of bodies (P, 17, 3) m: (person, keypoints), nearest first."""
    pixels = CAMERA.project(bodies)
    low, high = pixels.min(axis=1), pixels.max(axis=1)  # (P, 2)
    seen = ((pixels >= 0) & (pixels < np.array(CAMERA.size_wh))).all(axis=2)
    pixels = pixels + random.normal(0, NOISE_PX, pixels.shape)
    found, nearer = [], []
    for person in np.argsort(bodies[:, 0, 2]):
        there = seen[person].copy()
        gone = random.random() < MISSING
        for other in nearer:
            both = np.minimum(high[person], high[other]) - np.maximum(low[person], low[other])
            gone |= float(np.prod(np.maximum(both, 0)) / np.prod(high[person] - low[person])) > HIDDEN
            there &= ~((pixels[person] > low[other]) & (pixels[person] < high[other])).all(axis=1)
        nearer.append(person)
        if not gone and there.sum() >= 5:
            found.append((int(person), keypoints(pixels[person], there)))
    if random.random() < FALSE:
        walker_xy = pixels[random.integers(len(pixels))]
        shift = random.uniform(-400, 400, 2)
        found.append((-1, keypoints(walker_xy + shift, np.ones(17, bool))))
    return found


def keypoints(pixels: F64, there: np.ndarray) -> Keypoints:
    xy = np.where(there[:, None], pixels, np.nan).astype(np.float32)
    return Keypoints(xy, np.where(there, 0.9, 0.0).astype(np.float32))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--patient", action="store_true", help="track with look-ahead, as for files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
