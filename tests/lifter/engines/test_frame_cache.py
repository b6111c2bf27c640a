"""With the frame cache a runner gives the poses of a runner that computes every window from scratch."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.engines import frame_cache
from lifter.engines.frame_cache import FrameCache
from lifter.h2ot.hourglass import Hourglass
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.messages import Window
from stream.windows.ring import Ring

F = 27
CONFIG = {"width": 16, "depth": 2, "heads": 2}
SPECS = {
    "mixste": LifterSpec(name="a", frames=F, schedule=Schedule((13, 9), (0, 1)), config=CONFIG),
    "unpruned mixste": LifterSpec(name="b", frames=F, config=CONFIG),
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


def cached(spec):
    """A runner with a frame cache."""
    torch.manual_seed(0)
    return Runner(weights.build(spec), spec, device="cpu", threads=1)


def from_scratch(spec):
    """A runner that computes every token of every window."""
    runner = cached(spec)
    runner.frame_cache, runner.computes_rows = None, False
    next(part for part in runner.model.modules() if isinstance(part, Hourglass)).skip_unneeded = False
    return runner


class Crowd:
    """People who walk through the image and are lost for a while; a seed determines them and their gaps."""

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


def encoded_frames(runner):
    """Number of frames in each call of a runner's first spatial block, in a list that grows."""
    frames = []
    runner.model.STEblocks[0].register_forward_hook(lambda _, args, __: frames.append(len(args[0])))
    return frames


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_sliding_window_gets_the_same_poses(spec):
    """With padding at the start, gaps, steps of several frames, and people who leave."""
    lifter, plain, crowd = cached(spec), from_scratch(spec), Crowd(4)
    assert lifter.frame_cache is not None
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


def test_only_new_frames_are_encoded():
    lifter, crowd = cached(SPECS["unpruned mixste"]), Crowd(2)
    for at in range(F):
        crowd.step(at, gaps=False)
    frames = encoded_frames(lifter)
    for at in range(F, F + 4):
        lifter.lift(crowd.windows())
        crowd.step(at, gaps=False)
    lifter.lift(crowd.windows()[:1])
    assert frames == [2 * F, 2, 2, 2, 1]


def test_a_frame_with_another_filling_or_image_size_is_encoded_again():
    lifter, crowd = cached(SPECS["unpruned mixste"]), Crowd(1)
    for at in range(F):
        crowd.step(at, gaps=False)
    crowd.rings[0].push_gap(F * 20_000_000)
    frames = encoded_frames(lifter)
    lifter.lift(crowd.windows())  # the gap holds the last frame
    crowd.step(F + 1, gaps=False)
    lifter.lift(crowd.windows())  # and is interpolated once a frame follows it
    lifter.lift(crowd.windows((1280, 720)))
    assert frames == [F - 1, 2, F]  # the held frame equals the frame before it to the bit


def test_a_full_cache_evicts_unused_frames_and_stays_exact(monkeypatch):
    spec = SPECS["unpruned mixste"]
    row_bytes = 17 * 16 * 4
    monkeypatch.setattr(frame_cache, "CPU_BYTES", 40 * row_bytes)
    lifter, plain, crowd = cached(spec), from_scratch(spec), Crowd(1)
    for at in range(100):
        crowd.step(at, gaps=False)
        windows = crowd.windows()
        np.testing.assert_allclose(lifter.lift(windows), plain.lift(windows), atol=1e-5)
    assert lifter.frame_cache.capacity == 40
    frames = encoded_frames(lifter)
    lifter.lift(crowd.windows())
    assert frames == []


@pytest.mark.parametrize("rows", [0, 1, 20])
def test_a_crowd_too_large_for_the_cache_is_lifted_without_it(monkeypatch, rows):
    spec = SPECS["unpruned mixste"]
    monkeypatch.setattr(frame_cache, "CPU_BYTES", rows * 17 * 16 * 4)
    lifter, plain, crowd = cached(spec), from_scratch(spec), Crowd(3)
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
def test_lifters_that_cannot_encode_single_frames_have_no_cache(spec):
    assert FrameCache.for_network(weights.build(spec), spec, torch.device("cpu")) is None


def test_scores_that_the_network_does_not_read_are_not_in_the_key():
    lifter, window = cached(SPECS["unpruned mixste"]), Crowd(1)
    window.step(0)
    (before,) = window.windows()
    keypoints = before.keypoints.copy()
    keypoints[..., 2] = 0.4
    frames = encoded_frames(lifter)
    lifter.lift([before, Window(keypoints, before.origin, before.captured_ns, before.size_wh)])
    assert frames == [1]  # the first frame, which pads both windows
