"""Which frames a lifter keeps of the windows of a recording: what Figures 7 and 10 are drawn from."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace as changed
from numpy.typing import NDArray
from torch import Tensor, nn

import lifter
from lifter.h2ot.hourglass import Hourglass
from lifter.layers import take
from lifter.paper.flops import spec_of
from lifter.paper.tables import ROWS
from lifter.runner import Runner
from lifter.spec import Schedule
from lifter.weights import ARCHS, build, load_strictly
from stream import skeletons
from stream.errors import ConfigError
from stream.files import keypoints as keypoint_files
from stream.messages import KeypointFrame, Keypoints, Window
from stream.windows.ring import Ring


def selection(runner: Runner, windows: Iterable[Window]) -> NDArray[np.bool_]:
    """For each frame of each of N windows whether it is there after the last stage of pruning, (N, F).

    A diffusion lifter passes its backbone many times; this is the first time, of the first hypothesis.
    """
    frames = np.arange(runner.spec.frames)
    return np.stack([np.isin(frames, _kept(runner, window)) for window in windows])


def _kept(runner: Runner, window: Window) -> NDArray[np.int64]:
    """Places (K,) in the window of the frames that go on to the end; the pass ends when they are known."""
    hourglass = next(module for module in runner.model.modules() if isinstance(module, Hourglass))
    if not hourglass.at:
        return hourglass.every_frame.cpu().numpy()
    kept: list[Tensor] = []

    def leave(pruner: nn.Module, args: tuple[Any, ...], index: Tensor) -> None:
        kept.append(take(args[0].frame_indices, index))  # (K,) or (B, K)
        raise _Known

    hook = hourglass.pruners[-1].register_forward_hook(leave)
    try:
        with suppress(_Known):
            runner.lift([window])
    finally:
        hook.remove()
    return kept[0].reshape(-1, kept[0].shape[-1])[0].cpu().numpy()


class _Known(Exception):
    """Ends a pass whose poses nobody asked for."""


def opened(model: str | Path, schedule: Schedule | None = None) -> Runner:
    """Weights by name or file, or an architecture: full-size, random weights, H2OT's schedule in the paper.

    schedule: other stages than its own.
    """
    if str(model) not in ARCHS:
        runner = lifter.load(model)
        return runner if schedule is None else _rebuilt(runner, schedule)
    arch = str(model)
    spec = spec_of(arch, schedule=schedule or [row.schedule for row in ROWS if row.arch == arch][-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Runner(build(spec), changed(spec, name=f"{arch}, random weights"))


def with_pruner(runner: Runner, pruner: str) -> Runner:
    """The same weights, with the frames of every stage chosen by another pruner."""
    schedule = runner.spec.schedule
    if schedule is None:
        raise ConfigError(
            f"{runner.spec.name} prunes nothing; say how many frames to keep, and at which blocks"
        )
    return _rebuilt(runner, changed(schedule, pruner=pruner))


def _rebuilt(runner: Runner, schedule: Schedule) -> Runner:
    spec = changed(runner.spec, schedule=schedule)
    model = build(spec)
    load_strictly(model, runner.model.state_dict(), f"{spec.name} with another schedule")
    return Runner(model, spec, device=str(runner.device))


def sequence(path: Path, skeleton: str) -> Window:
    """All frames of a recording, of its first camera and the person seen most; gaps are filled as live."""
    frames = list(keypoint_files.read(path))
    frames = [frame for frame in frames if frame.header.source == frames[0].header.source]
    people = [_people(path, frame) for frame in frames]
    seen = Counter(who for persons in people for who in persons)
    if not seen:
        raise ConfigError(f"{path}: expected somebody to be seen in the recording, found nobody")
    who = seen.most_common(1)[0][0]
    ring = Ring(len(frames) + 2, len(skeletons.skeleton_named(skeleton).joints))
    for frame, persons in zip(frames, people, strict=True):
        if who not in persons:
            ring.push_gap(frame.header.captured_ns)
            continue
        person = skeletons.convert(persons[who], frame.skeleton, skeleton)
        ring.push(person.xy, person.score, frame.header.captured_ns)
    return ring.window(len(frames), frames[0].size_wh)


def _people(path: Path, frame: KeypointFrame) -> dict[str | None, Keypoints]:
    """Who is seen in a frame, by id."""
    seen = [person for person in frame.persons if np.isfinite(person.xy[person.score > 0]).all(axis=1).any()]
    people = {person.id: person for person in seen}
    if len(people) < len(seen):
        raise ConfigError(
            f"{path}: frame {frame.header.seq} shows {len(seen)} persons whom no ids tell apart; "
            "expected ids, or one person"
        )
    return people


def cut(seen: Window, start: int, frames: int) -> Window:
    """The window of `frames` frames from frame `start` of a longer one."""
    rows = slice(start, start + frames)
    return Window(seen.keypoints[rows], seen.origin[rows], seen.captured_ns[rows], seen.size_wh)
