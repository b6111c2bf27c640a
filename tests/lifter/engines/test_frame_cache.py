"""Frames remembered from window to window: the poses of a network that computes everything anew."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.engines import frame_cache as memory
from lifter.engines.frame_cache import Memory
from lifter.h2ot.hourglass import Hourglass
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.messages import Window
from stream.windows.ring import Ring

F = 27
CONFIG = {"width": 16, "depth": 2, "heads": 2}
SPECS = {
    "mixste": LifterSpec(name="a", frames=F, schedule=Schedule((13, 9), (0, 1)), config=CONFIG),
    "whole mixste": LifterSpec(name="b", frames=F, config=CONFIG),
    "mixste pruned by content": LifterSpec(
        name="c", frames=F, schedule=Schedule((9,), (0,), "tpmo"), config=CONFIG
    ),
    "motionagformer": LifterSpec(
        name="d",
        arch="motionagformer",
        frames=F,
        in_channels=3,
        normalise="image",
        schedule=Schedule((13, 9), (0, 1)),
        config=CONFIG | {"rep_width": 16},
    ),
    "diffpose": LifterSpec(
        name="e",
        arch="diffpose",
        frames=F,
        schedule=Schedule((13, 9), (0, 1)),
        config=CONFIG | {"graph": {"width": 16, "layers": 1}},
    ),
}


def fresh(spec):
    torch.manual_seed(0)
    return Runner(weights.build(spec), spec, device="cpu", threads=1)


def forgetful(spec):
    """A runner that computes everything, every time."""
    runner = fresh(spec)
    runner.memory, runner._asks = None, False
    next(part for part in runner.model.modules() if isinstance(part, Hourglass)).frugal = False
    return runner


class Crowd:
    """People walking through the picture, some unseen for a while; a seed makes them and their gaps."""

    def __init__(self, people, seed=0):
        self.random = np.random.default_rng(seed)
        self.rings = {name: Ring(4 * F, 17) for name in range(people)}
        self.xy = {name: self.random.uniform(0, 480, (17, 2)).astype(np.float32) for name in range(people)}

    def step(self, at, gaps=True):
        for name, ring in self.rings.items():
            self.xy[name] = self.xy[name] + self.random.normal(0, 3, (17, 2)).astype(np.float32)
            xy = self.xy[name].copy()
            if gaps and at % 11 in (3, 4) and name % 2:
                ring.push_gap(at * 20_000_000)
                continue
            if gaps and at % 7 == 5:
                xy[self.random.integers(17)] = np.nan
            ring.push(xy, np.full(17, 0.9, np.float32), at * 20_000_000)

    def windows(self, size_wh=(640, 480)):
        return [ring.window(F, size_wh) for ring in self.rings.values()]


def counted(runner):
    """How many frames the first spatial block of a runner has looked at, in a list that grows."""
    seen = []
    runner.model.STEblocks[0].register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    return seen


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_sliding_sequence_gets_the_same_poses(spec):
    """From the first frame on, so with padding; with gaps, steps of several frames, and people who leave."""
    lifter, plain, crowd = fresh(spec), forgetful(spec), Crowd(4)
    assert lifter.memory is not None
    for at in range(70):
        crowd.step(at)
        if at == 40:
            del crowd.rings[1], crowd.xy[1]
        if at % 5 in (1, 2):
            continue  # a slow machine lifts less often
        windows = crowd.windows((640, 480) if at < 55 else (1280, 960))
        rows = 3 if at % 2 else None
        np.testing.assert_allclose(
            lifter.lift(windows, rows), plain.lift(windows)[:, -(rows or F) :], atol=1e-5
        )


def test_only_new_frames_are_looked_at():
    lifter, crowd = fresh(SPECS["whole mixste"]), Crowd(2)
    for at in range(F):
        crowd.step(at, gaps=False)
    seen = counted(lifter)
    for at in range(F, F + 4):
        lifter.lift(crowd.windows())
        crowd.step(at, gaps=False)
    lifter.lift(crowd.windows()[:1])
    assert seen == [2 * F, 2, 2, 2, 1]


def test_a_frame_filled_in_anew_and_another_image_size_are_looked_at_again():
    lifter, crowd = fresh(SPECS["whole mixste"]), Crowd(1)
    for at in range(F):
        crowd.step(at, gaps=False)
    crowd.rings[0].push_gap(F * 20_000_000)
    seen = counted(lifter)
    lifter.lift(crowd.windows())  # the gap is held
    crowd.step(F + 1, gaps=False)
    lifter.lift(crowd.windows())  # and is interpolated now that something follows
    lifter.lift(crowd.windows((1280, 720)))
    assert seen == [F - 1, 2, F]  # what is held is the frame before it, to the bit


def test_a_full_memory_forgets_what_nobody_asked_for_and_stays_exact(monkeypatch):
    spec = SPECS["whole mixste"]
    row_bytes = 17 * 16 * 4
    monkeypatch.setattr(memory, "_CPU_BYTES", 40 * row_bytes)
    lifter, plain, crowd = fresh(spec), forgetful(spec), Crowd(1)
    for at in range(100):
        crowd.step(at, gaps=False)
        windows = crowd.windows()
        np.testing.assert_allclose(lifter.lift(windows), plain.lift(windows), atol=1e-5)
    assert len(lifter.memory._rows) == 40
    seen = counted(lifter)
    lifter.lift(crowd.windows())
    assert seen == []


@pytest.mark.parametrize("rows", [0, 1, 20])
def test_a_crowd_too_large_for_the_memory_is_lifted_without(monkeypatch, rows):
    spec = SPECS["whole mixste"]
    monkeypatch.setattr(memory, "_CPU_BYTES", rows * 17 * 16 * 4)
    lifter, plain, crowd = fresh(spec), forgetful(spec), Crowd(3)
    for at in range(3 * F):
        crowd.step(at)
        if at % 9 == 0:
            np.testing.assert_allclose(lifter.lift(crowd.windows()), plain.lift(crowd.windows()), atol=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        LifterSpec(name="f", frames=F, normalise="person", config=CONFIG),
        LifterSpec(name="g", arch="motionbert", frames=F, in_channels=3, config=CONFIG | {"rep_width": 16}),
        LifterSpec(name="h", arch="d3dp", frames=F, config=CONFIG | {"hypotheses": 1, "steps": 1}),
        LifterSpec(
            name="i",
            arch="motionagformer",
            frames=F,
            in_channels=3,
            schedule=Schedule((9,), (0,), "tpa"),
            config=CONFIG | {"rep_width": 16},
        ),
    ],
    ids=lambda spec: f"{spec.arch}, {spec.normalise}",
)
def test_nothing_is_remembered_where_no_frame_can_be_told_by_itself(spec):
    assert Memory.of(weights.build(spec), spec, torch.device("cpu")) is None


def test_scores_that_the_network_does_not_see_do_not_matter():
    lifter, window = fresh(SPECS["whole mixste"]), Crowd(1)
    window.step(0)
    (before,) = window.windows()
    keypoints = before.keypoints.copy()
    keypoints[..., 2] = 0.4
    seen = counted(lifter)
    lifter.lift([before, Window(keypoints, before.origin, before.captured_ns, before.size_wh)])
    assert seen == [1]  # the first frame, which pads both windows
