"""Open lifters of any architecture, and cut windows from recordings, to measure and draw them."""

import inspect
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace

import lifter
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from lifter.weights import ARCHS, build, import_object, load_strictly
from stream import skeletons
from stream.errors import ConfigError
from stream.files import keypoints as keypoint_files
from stream.messages import KeypointFrame, Keypoints, Window
from stream.windows.ring import Ring

# The schedule of H2OT in the paper's tables 7 and 8; MHFormer answers for the centre frame alone.
H2OT_SCHEDULES = {
    "mixste": Schedule((121, 81), (0, 3)),
    "mhformer": Schedule((175, 117), (0, 1), recoverer="none"),
    "motionbert": Schedule((121, 81), (0, 1)),
    "motionagformer": Schedule((121, 81), (0, 7)),
    "d3dp": Schedule((121, 81), (0, 3)),
    "diffpose": Schedule((121, 81), (0, 3)),
}


def full_size_spec(arch: str, frames: int | None = None, schedule: Schedule | None = None) -> LifterSpec:
    """The spec of the paper's full-size model; ConfigError for an unknown architecture.

    frames: length of the window F (default: the paper's). schedule: None does not prune.
    """
    if arch not in ARCHS:
        raise ConfigError(f"arch: expected one of {', '.join(ARCHS)}, got {arch!r}")
    defaults = inspect.signature(import_object(ARCHS[arch])).parameters
    return LifterSpec(
        name=arch,
        arch=arch,
        frames=defaults["frames"].default if frames is None else frames,
        in_channels=defaults["in_channels"].default,
        schedule=schedule,
    )


def open_lifter(model: str | Path, schedule: Schedule | None = None) -> Runner:
    """Load weights by name or file, or build an architecture at full size with fixed random weights.

    schedule: replaces the lifter's own; an architecture has the schedule of H2OT by default.
    """
    if str(model) not in ARCHS:
        runner = lifter.load(model)
        return runner if schedule is None else with_schedule(runner, schedule)
    arch = str(model)
    spec = full_size_spec(arch, schedule=schedule or H2OT_SCHEDULES[arch])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Runner(build(spec), replace(spec, name=f"{arch}, random weights"))


def with_schedule(runner: Runner, schedule: Schedule) -> Runner:
    """The same weights with another pruning schedule; CheckpointError if it needs other parameters."""
    spec = replace(runner.spec, schedule=schedule)
    model = build(spec)
    load_strictly(model, runner.model.state_dict(), f"{spec.name} with another schedule")
    return Runner(model, spec, device=str(runner.device))


def recording_as_window(path: Path, skeleton: str) -> Window:
    """All frames of a recording as one window: its first camera, and the person in most of its frames.

    Gaps are filled as they are live. ConfigError if the recording has no person, or several persons in
    one frame without distinct ids.
    """
    frames = list(keypoint_files.read(path))
    frames = [frame for frame in frames if frame.header.source == frames[0].header.source]
    people = [_people(path, frame) for frame in frames]
    frame_counts = Counter(person_id for persons in people for person_id in persons)
    if not frame_counts:
        raise ConfigError(f"{path}: expected at least one person in the recording, found none")
    person_id = frame_counts.most_common(1)[0][0]
    ring = Ring(len(frames) + 2, len(skeletons.skeleton_named(skeleton).joints))
    for frame, persons in zip(frames, people, strict=True):
        if person_id not in persons:
            ring.push_gap(frame.header.captured_ns)
            continue
        person = skeletons.convert(persons[person_id], frame.skeleton, skeleton)
        ring.push(person.xy, person.score, frame.header.captured_ns)
    return ring.window(len(frames), frames[0].size_wh)


def _people(path: Path, frame: KeypointFrame) -> dict[str | None, Keypoints]:
    """The persons of a frame with at least one joint, by id."""
    visible = [
        person for person in frame.persons if np.isfinite(person.xy[person.score > 0]).all(axis=1).any()
    ]
    people = {person.id: person for person in visible}
    if len(people) < len(visible):
        raise ConfigError(
            f"{path}: frame {frame.header.seq} has {len(visible)} persons without distinct ids; "
            "expected ids, or one person"
        )
    return people


def cut_window(window: Window, start: int, frames: int) -> Window:
    """The `frames` frames of a longer window from frame `start` on."""
    rows = slice(start, start + frames)
    return Window(window.keypoints[rows], window.origin[rows], window.captured_ns[rows], window.size_wh)
