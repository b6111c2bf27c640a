"""What steadying does to poses: jitter, error, delay and bones of the synthetic walker, and swaps repaired.

    python benchmarks/steady.py [--weights small] [--seconds 12] [--noise-px 3] [--rates 50 25]

The walker is lifted as a live stream with lag 0, each pose from its own newest frames. jitter: mean second
difference; error: MPJPE; delay: the shift in time at which poses resemble those without steadying most;
bones: standard deviation of a bone's length over its mean. left/right: mix-ups of 1 to 10 frames are put
into the keypoints of walkers; `spins` turns a person around in place, half a turn in 0.3 s,
where nothing may be repaired. Prints tables, then one JSON line.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import lifter
from lifter.machine import machine
from sources.synthetic import Synthetic
from sources.walking_figure import VirtualCamera, Walk, figure
from stream.messages import Header, JointOrigin, KeypointFrame, Keypoints, Pose, Window
from stream.postprocess.batch import PoseBatch
from stream.postprocess.one_euro import OneEuro
from stream.postprocess.smoothing import Smoother
from stream.protocols import ComponentContext, opened
from stream.skeletons import skeleton_named
from stream.tracking.left_right import LeftRightRepair
from stream.windows.ring import Ring

F64 = NDArray[np.float64]
SKELETON = skeleton_named("h36m17")
PAIRS = np.array(SKELETON.flip_pairs)
SIZE_WH = (1280, 720)
_UP_TO_S = 1.0  # left out of all figures: the window is still filling


def main() -> None:
    arguments = parse()
    print(machine().text())
    rows = [row for hz in arguments.rates for row in lifted(arguments, hz)]
    print(f"\n{'':<26}{'swapped':>9}{'repaired':>10}{'visible':>9}{'repaired':>10}{'false':>7}{'frames':>8}")
    swaps = [row for hz in arguments.swap_rates for row in repaired(hz, arguments.noise_px)]
    print(
        json.dumps({"benchmark": "steady", "machine": machine().text(), "noise_px": arguments.noise_px,
                    "weights": arguments.weights, "steady": rows, "swaps": swaps})
    )  # fmt: skip


# Poses


def lifted(arguments: argparse.Namespace, hz: float) -> Iterator[dict]:
    """One row per setting, on the same lifted poses."""
    count = round(arguments.seconds * hz)
    source = Synthetic(
        Synthetic.Settings(fps=hz, noise_px=arguments.noise_px, pace="full"), ComponentContext("walk")
    )
    with opened(source):
        frames = [frame for _ in range(count) if (frame := source.read(1.0)) is not None]
    truth = np.stack([source.truth(seq)[0] for seq in range(count)])
    truth -= truth[:, :1]
    poses = lift(arguments.weights, frames)
    settings = {
        "none": Smoother.Settings(),
        "bones": Smoother.Settings(bones=True),
        **{
            f"one_euro {hz_} Hz, {beta}": Smoother.Settings(
                one_euro=OneEuro.Settings(min_cutoff_hz=hz_, beta=beta)
            )
            for hz_, beta in arguments.filters
        },
        "one_euro and bones": Smoother.Settings(one_euro=OneEuro.Settings(), bones=True),
    }
    print(f"\n{hz:g} Hz, {arguments.noise_px:g} px{'jitter mm':>22}{'truth':>8}{'error mm':>10}", end="")
    print(f"{'delay ms':>10}{'bones %':>9}")
    skip = round(_UP_TO_S * hz)
    for name, setting in settings.items():
        made = steadied(poses, frames, setting)
        row = {
            "hz": hz, "name": name,
            "jitter_mm": jitter(made[skip:]), "truth_jitter_mm": jitter(truth[skip:]),
            "error_mm": 1e3 * float(np.linalg.norm(made - truth, axis=2)[skip:].mean()),
            "delay_ms": delay_ms(made[skip:], poses[skip:], hz),
            "bones_percent": bones_percent(made[2 * skip:]),
        }  # fmt: skip
        print(f"{name:<26}{row['jitter_mm']:>10.2f}{row['truth_jitter_mm']:>8.2f}", end="")
        print(f"{row['error_mm']:>10.2f}{row['delay_ms']:>10.1f}{row['bones_percent']:>9.2f}")
        yield row


def lift(weights: str, frames: list[KeypointFrame]) -> F64:
    """Newest pose (N, J, 3) of each frame's window, as lag 0 publishes it at hop 1."""
    runner = lifter.load(weights, device="auto", threads=1)
    length = runner.spec.frames
    ring = Ring(2 * length + 2, runner.spec.joints)
    windows: list[Window] = []
    for frame in frames:
        ring.push(frame.persons[0].xy, frame.persons[0].score, frame.header.captured_ns)
        windows.append(ring.window(length, frame.size_wh))
    newest = [runner.lift(windows[first : first + 8])[:, -1] for first in range(0, len(windows), 8)]
    return np.concatenate(newest).astype(np.float64)


def steadied(poses: F64, frames: list[KeypointFrame], settings: Smoother.Settings) -> F64:
    step = Smoother(settings, ComponentContext("walk"))
    origin = np.full(17, JointOrigin.OBSERVED, np.uint8)
    made = []
    for xyz, frame in zip(poses, frames, strict=True):
        pose = Pose("a", "ok", xyz.astype(np.float32), frame.persons[0].score, origin)
        batch = PoseBatch.of("h36m17", frame.header, frame.size_wh, [pose], "walk_optical_frame")
        step.apply(batch)
        made.append(batch.xyz[0])
    return np.stack(made).astype(np.float64)


def jitter(poses: F64) -> float:
    """Mean second difference, mm per frame squared."""
    return 1e3 * float(np.linalg.norm(np.diff(poses, n=2, axis=0), axis=2).mean())


def delay_ms(poses: F64, reference: F64, hz: float) -> float:
    """By how much `poses` follow `reference`: the peak of their cross-correlation, to a part of a frame."""
    most = round(0.4 * hz)
    a, b = (each[:, 1:] - each[:, 1:].mean(axis=0) for each in (poses, reference))
    shifts = np.arange(-2, most)
    middle = slice(most, len(a) - most)
    match = np.array([(a[middle] * b[most - s : len(b) - most - s]).sum() for s in shifts])
    top = int(np.clip(match.argmax(), 1, len(shifts) - 2))
    left, peak, right = match[top - 1 : top + 2]
    return float(1e3 / hz * (shifts[top] + 0.5 * (left - right) / (left - 2 * peak + right)))


def bones_percent(poses: F64) -> float:
    """Standard deviation of a bone's length over its mean, mean over bones."""
    lengths = np.linalg.norm(poses[:, 1:] - poses[:, list(SKELETON.parents[1:])], axis=2)
    return 100 * float((lengths.std(axis=0) / lengths.mean(axis=0)).mean())


# LeftRightRepair


def repaired(hz: float, noise_px: float) -> Iterator[dict]:
    """Injected mix-ups undone, pairs changed that were right; "visible" ones moved a joint by over 20 px."""
    for name, clean in (("walkers", walkers(hz, noise_px)), ("spins", spins(hz, noise_px))):
        random = np.random.default_rng(0)
        for injected in (False, True):
            row = dict.fromkeys(("swapped", "repaired", "visible", "visible_repaired", "false", "frames"), 0)
            for frames in clean:
                swaps = LeftRightRepair("h36m17", ComponentContext("cam0"))
                plan = (
                    mixups(len(frames), hz, random) if injected else np.zeros((len(frames), len(PAIRS)), bool)
                )
                for frame, mixed in zip(frames, plan, strict=True):
                    tally(row, frame, mixed, swaps)
            yield {"hz": hz, "name": name, "injected": injected, **row}
            title = f"{name} {hz:g} Hz{', mixed up' if injected else ''}"
            print(f"{title:<26}{row['swapped']:>9}{share(row['repaired'], row['swapped']):>10}", end="")
            print(f"{row['visible']:>9}{share(row['visible_repaired'], row['visible']):>10}", end="")
            print(f"{row['false']:>7}{row['frames']:>8}")


def tally(row: dict, frame: KeypointFrame, mixed: NDArray[np.bool_], swaps: LeftRightRepair) -> None:
    """Send one frame with the pairs `mixed` through `swaps` and count what became of its pairs."""
    person = frame.persons[0]
    given = person.xy.copy()
    for left, right in PAIRS[mixed]:
        given[[left, right]] = given[[right, left]]
    came = swaps.update(replace(frame, persons=(replace(person, xy=given),))).persons[0].xy
    right_now = (came[PAIRS[:, 0]] == person.xy[PAIRS[:, 0]]).all(axis=1)
    visible = np.linalg.norm(person.xy[PAIRS[:, 0]] - person.xy[PAIRS[:, 1]], axis=1) > 20
    for key, count in (
        ("swapped", mixed), ("repaired", mixed & right_now), ("visible", mixed & visible),
        ("visible_repaired", mixed & visible & right_now), ("false", ~mixed & ~right_now),
    ):  # fmt: skip
        row[key] += int(count.sum())
    row["frames"] += 1


def mixups(frames: int, hz: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """(N, P): about one mix-up a second of all pairs, the legs, the arms or one pair, for 1 to 10 frames."""
    plan = np.zeros((frames, len(PAIRS)), np.bool_)
    legs = np.array(
        ["hip" in n or "knee" in n or "ankle" in n for n in map(SKELETON.joints.__getitem__, PAIRS[:, 0])]
    )
    start = round(hz)
    while start < frames:
        kind = random.integers(4)
        one = np.arange(len(PAIRS)) == random.integers(len(PAIRS))
        plan[start : start + random.integers(1, 11)] = (np.ones(len(PAIRS), bool), legs, ~legs, one)[kind]
        start += 11 + round(random.exponential(hz))
    return plan


def walkers(hz: float, noise_px: float, seconds: float = 60.0) -> list[list[KeypointFrame]]:
    """Four people on circles."""
    walks = [
        Walk(speed_m_s=speed, start_rad=start) for speed, start in ((0.9, 0), (1.15, 1), (1.5, 2), (2.0, 3))
    ]
    times = np.arange(0, seconds, 1 / hz)
    return [seen([figure(t, walk) for t in times], times, noise_px, seed) for seed, walk in enumerate(walks)]


def spins(hz: float, noise_px: float) -> list[list[KeypointFrame]]:
    """Somebody who turns around in place again and again, half a turn in 0.3 to 0.8 s, 0.4 s of rest."""
    people = []
    for seed, turn_s in enumerate((0.3, 0.4, 0.6, 0.8)):
        times = np.arange(0, 60.0, 1 / hz)
        turns, part = np.divmod(times, turn_s + 0.4)
        angle = np.pi * (turns + 0.5 * (1 - np.cos(np.pi * np.clip(part / turn_s, 0, 1))))
        still = figure(0.3, Walk())
        offset = still - still[0]
        poses = []
        for each in angle:
            cos, sin = np.cos(each), np.sin(each)
            poses.append(offset @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + [0, 0, still[0, 2]])
        people.append(seen(poses, times, noise_px, seed))
    return people


def seen(world: list[F64], times: F64, noise_px: float, seed: int) -> list[KeypointFrame]:
    camera, random = VirtualCamera(size_wh=SIZE_WH), np.random.default_rng(seed)
    pixels = camera.project(camera.view(np.stack(world)))
    pixels += random.normal(0, noise_px, pixels.shape)
    score = np.ones(17, np.float32)
    return [
        KeypointFrame(
            Header("cam0", seq, round(1e9 * t), round(1e9 * t)), SIZE_WH, "h36m17",
            (Keypoints(xy.astype(np.float32), score, "a"),), round(1e9 * t),
        )
        for seq, (xy, t) in enumerate(zip(pixels, times, strict=True))
    ]  # fmt: skip


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--noise-px", type=float, default=3.0)
    parser.add_argument("--rates", type=float, nargs="*", default=[50.0, 25.0])
    parser.add_argument("--swap-rates", type=float, nargs="*", default=[50.0, 25.0, 12.5])
    arguments = parser.parse_args()
    arguments.filters = [(1.0, 5.0), (2.0, 10.0), (4.0, 20.0)]
    return arguments


if __name__ == "__main__":
    main()
