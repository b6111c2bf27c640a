"""`poselift lift --refine`: lift a file with two models, then refine each person over the whole recording."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lifter.mean_lifter import MeanLifter
from lifter.refinement import Recording, refine, segments
from lifter.spec import ASSUMED_FOCAL
from stream.config.lifter import LifterSettings
from stream.errors import ConfigError
from stream.files.recorded_poses import read_messages
from stream.messages import F32, Meta, Pose, PoseFrame
from stream.runtime import offline
from stream.runtime.convert import write_messages
from stream.runtime.pipeline import load_here
from stream.runtime.progress import ReportProgress
from stream.skeletons import skeleton_named

MAX_GAP_NS = 500_000_000  # a person that is away for longer is refined in two parts
_SECOND_MODEL = {"small": "medium", "medium": "small"}


def lift_refined(
    source: Path,
    output: Path,
    settings: dict[str, Any],
    changes: Iterable[str],
    progress_bar: Callable[[str], AbstractContextManager[ReportProgress]],
) -> int:
    """Lift the video, image folder or keypoint file `source` into `output`; returns the number of frames.

    Packaged weights are lifted together with the other packaged weights, and the mean of both is refined.
    Raises the errors of `offline.lift`, and ConfigError for poses in a world in place of a camera.
    """
    offline.check_output(source, output)
    changes = list(changes)
    of_output = [change for change in changes if change.startswith(("sink.", "sinks."))]
    of_lifting = [change for change in changes if change not in of_output]
    with tempfile.TemporaryDirectory() as folder:
        lifted = Path(folder) / "lifted.npz"
        config = offline.config_for(source, lifted, settings, of_lifting)
        expected = offline.count(source)
        model = mean_lifter(config.lifter)
        with progress_bar("lifting") as report_progress:
            frames = offline.lift(config, lambda done: report_progress(done, expected), model)
            report_progress(frames, frames)
        messages = list(read_messages(lifted))
    with progress_bar("refining") as report_progress:
        messages = refine_messages(messages, report_progress)
    write_messages(messages, output, of_output)
    return frames


def mean_lifter(settings: LifterSettings) -> MeanLifter:
    """The lifter of a config; packaged weights together with the other packaged weights."""
    second = _SECOND_MODEL.get(settings.weights)
    names = [settings.weights, *([second] if second else [])]
    return MeanLifter([load_here(msgspec.structs.replace(settings, weights=name)) for name in names])


def refine_messages(
    messages: list[PoseFrame | Meta], report_progress: ReportProgress = lambda done, total: None
) -> list[PoseFrame | Meta]:
    """The same messages with refined poses; people without keypoints stay as they are.

    Raises ConfigError for poses in world axes.
    """
    metas = {message.source: message for message in messages if isinstance(message, Meta)}
    places: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)  # message and person
    for number, message in enumerate(messages):
        if isinstance(message, Meta):
            continue
        if message.frame_id and not message.frame_id.endswith("_optical_frame"):
            raise ConfigError(
                f"--refine: expected poses in the axes of the camera, got frame {message.frame_id!r}; "
                "leave out scene.world"
            )
        for row, person in enumerate(message.persons):
            if person.kp2d is not None and np.isfinite(person.xyz).all():
                places[message.header.source, person.id].append((number, row))
    refined: dict[tuple[int, int], F32] = {}
    for done, ((source, _), of_person) in enumerate(places.items()):
        report_progress(done, len(places))
        refined.update(zip(of_person, _refined(messages, of_person, metas.get(source)), strict=True))
    report_progress(len(places), len(places))
    return [
        message
        if isinstance(message, Meta)
        else replace(
            message,
            persons=tuple(
                replace(person, xyz=refined[number, row], rotations=None)
                if (number, row) in refined
                else person
                for row, person in enumerate(message.persons)
            ),
        )
        for number, message in enumerate(messages)
    ]


def _refined(messages: list[PoseFrame | Meta], places: list[tuple[int, int]], meta: Meta | None) -> list[F32]:
    """The refined poses (J, 3) of one person, in the order of its places."""
    frames = [messages[number] for number, _ in places]
    people = [_person(message, row) for message, (_, row) in zip(frames, places, strict=True)]
    captured_ns = np.array([f.header.captured_ns for f in frames if isinstance(f, PoseFrame)], np.int64)
    skeleton = skeleton_named(frames[0].skeleton)
    focal, centre = _camera(meta)
    poses: list[F32] = []
    for part in segments(captured_ns, MAX_GAP_NS):
        step_ns = float(np.median(np.diff(captured_ns[part]))) if part.stop - part.start > 1 else 0.0
        keypoints = np.stack([_keypoints(person) for person in people[part]])
        xyz = np.stack([person.xyz for person in people[part]])
        if step_ns <= 0:
            poses.extend(xyz)
            continue
        poses.extend(refine(Recording(xyz, keypoints, 1e9 / step_ns, focal, centre), skeleton))
    return poses


def _person(message: PoseFrame | Meta, row: int) -> Pose:
    assert isinstance(message, PoseFrame)
    return message.persons[row]


def _keypoints(person: Pose) -> F32:
    """Keypoints (J, 3) with score 0 for joints that were not detected in this frame."""
    assert person.kp2d is not None
    keypoints = person.kp2d.copy()
    keypoints[~person.visible, 2] = 0
    return keypoints


def _camera(meta: Meta | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """Focal lengths and principal point in pixels; the assumed ones for a camera without calibration."""
    if meta is None or meta.size_wh is None:
        raise ConfigError("--refine: expected a recording with the size of its images")
    if meta.intrinsics is not None:
        k = meta.intrinsics
        return (k.fx, k.fy), (k.cx, k.cy)
    focal = ASSUMED_FOCAL * max(meta.size_wh)
    return (focal, focal), (meta.size_wh[0] / 2, meta.size_wh[1] / 2)
