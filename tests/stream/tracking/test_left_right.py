from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sources.walking_figure import VirtualCamera, Walk, figure
from stream.clock import FakeClock
from stream.config.load import resolve
from stream.files.keypoints import write
from stream.messages import Header, KeypointFrame, Keypoints, PoseFrame
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog
from stream.rotations import axis_rotation
from stream.runtime.camera_stages import CameraStages, LifterInput
from stream.runtime.pipeline import Pipeline
from stream.skeletons import skeleton_named
from stream.tracking.left_right import LeftRightRepair
from stream.tracking.people_limit import PeopleLimit

H36M17 = skeleton_named("h36m17")
ALL = tuple(range(len(H36M17.flip_pairs)))
LEGS = tuple(i for i, (left, _) in enumerate(H36M17.flip_pairs) if left in (4, 5, 6))
ARMS = tuple(set(ALL) - set(LEGS))
HIPS, SHOULDERS = [1, 4], [11, 14]
FACING_CAMERA_RAD = np.pi / 2
CAMERA = VirtualCamera()


def walker(
    hz: float = 50.0, frames: int = 50, id: str = "a0000", start_rad: float = 0.0
) -> list[KeypointFrame]:
    """Frames of a person who walks towards the side of the image, with 2 px of noise."""
    random = np.random.default_rng(0)
    frames_2d = []
    for seq in range(frames):
        world = figure(seq / hz, Walk(start_rad=start_rad))
        xy = CAMERA.project(CAMERA.view(world)) + random.normal(0, 2, (17, 2))
        frames_2d.append(keypoints(xy, seq, seq / hz, id))
    return frames_2d


def turner(frames: int, hz: float = 50.0) -> list[KeypointFrame]:
    """Frames of a person who turns on the spot, once in two seconds, with 2 px of noise."""
    still, random = figure(0.3, Walk()), np.random.default_rng(0)
    poses = (
        (still - still[0]) @ axis_rotation(2, np.pi * seq / hz) + [0, 0, still[0, 2]] for seq in range(frames)
    )
    return [
        keypoints(CAMERA.project(CAMERA.view(xyz)) + random.normal(0, 2, (17, 2)), seq, seq / hz)
        for seq, xyz in enumerate(poses)
    ]


def sitter(frames: int, hz: float = 50.0) -> list[KeypointFrame]:
    """Frames of a person who sits facing the camera and sways, with 2 px of noise."""
    standing, random = figure(0.3, Walk()), np.random.default_rng(0)
    sitting = (standing - standing[0]) @ axis_rotation(2, FACING_CAMERA_RAD) + [0, 0, 0.5]
    for hip, knee, ankle in ((1, 2, 3), (4, 5, 6)):
        sitting[knee] = sitting[hip] + [0.42, 0, 0]
        sitting[ankle] = sitting[knee] - [0, 0, 0.43]
    frames_2d = []
    for seq in range(frames):
        sway = np.outer(sitting[:, 2], [0, 0.1 * np.sin(2 * np.pi * 0.3 * seq / hz), 0])
        xy = CAMERA.project(CAMERA.view(sitting + sway)) + random.normal(0, 2, (17, 2))
        frames_2d.append(keypoints(xy, seq, seq / hz))
    return frames_2d


def looks_right(repaired: KeypointFrame, frame: KeypointFrame) -> bool:
    """Whether all pairs whose sides lie more than 5 % of the body apart are on their sides."""
    xy, pairs = frame.persons[0].xy, np.array(H36M17.flip_pairs)
    wide = np.linalg.norm(xy[pairs[:, 0]] - xy[pairs[:, 1]], axis=1) > 0.05 * np.hypot(*np.ptp(xy, axis=0))
    return np.array_equal(repaired.persons[0].xy[pairs[wide]], xy[pairs[wide]])


def exchange_plan(frames: int, seed: int) -> np.ndarray:
    """(N,) bool: frames with an exchange, of 1 to 60 frames, one to two seconds apart."""
    random, exchanged = np.random.default_rng(seed), np.zeros(frames, bool)
    start = 30
    while start < frames:
        length = int(random.integers(1, 61))
        exchanged[start : start + length] = True
        start += length + int(random.integers(50, 100))
    return exchanged


def repaired_right(frames: list[KeypointFrame], exchanged: np.ndarray, pairs: tuple[int, ...]) -> np.ndarray:
    """(N,) bool: frames whose sides are right after the repair, with `pairs` exchanged in some of them."""
    repair, _ = make_repair()
    return np.array(
        [
            looks_right(repair.update(mixed_up(frame, pairs) if mixed else frame), frame)
            for frame, mixed in zip(frames, exchanged, strict=True)
        ]
    )


def keypoints(xy: np.ndarray, seq: int, t_s: float, id: str = "a0000") -> KeypointFrame:
    at_ns = round(1e9 * t_s)
    score = np.linspace(0.5, 1.0, 17).astype(np.float32)
    score[np.isnan(xy).any(axis=1)] = 0
    person = Keypoints(xy.astype(np.float32), score, id)
    return KeypointFrame(Header("cam0", seq, at_ns, at_ns), (1280, 720), "h36m17", (person,), at_ns)


def mixed_up(frame: KeypointFrame, pairs: tuple[int, ...] = ALL) -> KeypointFrame:
    """The frame with left and right exchanged in these pairs of joints."""
    order = np.arange(17)
    for left, right in (H36M17.flip_pairs[index] for index in pairs):
        order[[left, right]] = right, left
    person = frame.persons[0]
    return replace(frame, persons=(replace(person, xy=person.xy[order], score=person.score[order]),))


def between_sides(frame: KeypointFrame, legs: float, arms: float) -> KeypointFrame:
    """The frame with legs and arms part of the way to the other side, as a smoothing detector shows them."""
    person, order = frame.persons[0], list(H36M17.flip_indices)
    share = np.full((17, 1), arms, np.float32)
    share[[joint for pair in LEGS for joint in H36M17.flip_pairs[pair]]] = legs
    xy = (1 - share) * person.xy + share * person.xy[order]
    return replace(frame, persons=(replace(person, xy=xy.astype(np.float32)),))


def same(one: KeypointFrame, other: KeypointFrame) -> bool:
    return len(one.persons) == len(other.persons) and all(
        a.id == b.id and np.array_equal(a.xy, b.xy, equal_nan=True) and np.array_equal(a.score, b.score)
        for a, b in zip(one.persons, other.persons, strict=True)
    )


def make_repair() -> tuple[LeftRightRepair, ComponentContext]:
    context = ComponentContext("cam0")
    return LeftRightRepair("h36m17", context), context


def test_a_mix_up_of_some_frames_is_repaired_with_scores_and_counted():
    repair, context = make_repair()
    frames = walker()
    repaired = [repair.update(mixed_up(frame) if 20 <= frame.header.seq < 26 else frame) for frame in frames]
    assert [same(a, b) for a, b in zip(repaired, frames, strict=True)] == [True] * 50
    assert context.health.counter("cam0", "swaps") == 6


def test_a_mix_up_of_the_legs_alone_is_repaired():
    repair, _ = make_repair()
    frames = walker()
    repaired = [repair.update(mixed_up(frame, LEGS) if frame.header.seq == 30 else frame) for frame in frames]
    assert same(repaired[30], frames[30])
    assert same(repaired[31], frames[31])


def test_a_person_walking_in_a_circle_is_not_repaired():
    for hz in (50.0, 25.0, 12.5):
        repair, context = make_repair()
        frames = walker(hz, frames=round(12 * hz))
        assert all(same(repair.update(frame), frame) for frame in frames)
        assert context.health.counter("cam0", "swaps") == 0


def test_a_person_turning_around_quickly_is_not_repaired():
    for hz in (50.0, 25.0, 12.5):
        repair, _ = make_repair()
        still = figure(0.0, Walk())
        for seq in range(round(2 * hz)):
            angle = np.pi * np.clip((seq / hz - 1.0) / 0.3, 0, 1)  # half a turn in 0.3 s
            cos, sin = np.cos(angle), np.sin(angle)
            turned = (still - still[0]) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + still[0]
            frame = keypoints(CAMERA.project(CAMERA.view(turned)), seq, seq / hz)
            assert same(repair.update(frame), frame)


def test_a_lasting_mix_up_is_accepted_within_two_and_a_half_seconds():
    repair, context = make_repair()
    frames = [mixed_up(frame) if frame.header.seq >= 20 else frame for frame in walker(frames=190)]
    repaired = [repair.update(frame) for frame in frames]
    unchanged = [same(a, b) for a, b in zip(repaired, frames, strict=True)]
    assert unchanged[:20] == [True] * 20
    assert unchanged[20:80] == [False] * 60
    assert unchanged[146:] == [True] * 44
    assert context.health.counter("cam0", "swaps") == unchanged.count(False)


@pytest.mark.parametrize("pairs", [ALL, LEGS, ARMS], ids=["body", "legs", "arms"])
@pytest.mark.parametrize("posture", ["walking", "turning", "sitting"])
def test_exchanges_of_1_to_60_frames_are_repaired_and_right_frames_are_not_touched(
    posture: str, pairs: tuple[int, ...]
):
    people = {
        "walking": [walker(frames=800, start_rad=start_rad) for start_rad in (0.0, 1.5, 3.0)],
        "turning": [turner(1000)],
        "sitting": [sitter(1000)],
    }[posture]
    exchanged = [exchange_plan(len(frames), seed) for seed, frames in enumerate(people)]
    right = [repaired_right(*person, pairs) for person in zip(people, exchanged, strict=True)]
    assert np.concatenate(right)[np.concatenate(exchanged)].mean() >= 0.95
    assert np.concatenate(right)[~np.concatenate(exchanged)].mean() >= 0.998


def test_a_full_turn_of_the_body_is_not_repaired():
    for hz in (50.0, 25.0):
        repair, context = make_repair()
        for frame in turner(round(6 * hz), hz):
            assert same(repair.update(frame), frame)
        assert context.health.counter("cam0", "swaps") == 0


def test_legs_stay_repaired_when_the_arms_return_for_a_frame_and_the_legs_only_half_way():
    repair, _ = make_repair()
    frames = sitter(50)
    exchanged = [mixed_up(frame) if frame.header.seq >= 30 else frame for frame in frames]
    exchanged[31] = between_sides(frames[31], legs=0.6, arms=0.3)
    repaired = [repair.update(frame) for frame in exchanged]
    right = [looks_right(a, b) for a, b in zip(repaired, frames, strict=True)]
    assert right == [number != 31 for number in range(50)]


def test_legs_exchanged_from_the_first_frame_are_repaired_because_the_trunk_cannot_be_twisted_so_far():
    repair, _ = make_repair()
    frames = sitter(100)
    repaired = [repair.update(mixed_up(frame, LEGS)) for frame in frames]
    trunk_is_right = [
        np.array_equal(a.persons[0].xy[HIPS], b.persons[0].xy[HIPS])
        or np.array_equal(a.persons[0].xy[SHOULDERS], b.persons[0].xy[SHOULDERS][::-1])
        for a, b in zip(repaired, frames, strict=True)
    ]
    assert all(trunk_is_right[60:])


def test_the_joints_that_were_repaired_are_marked():
    repair, _ = make_repair()
    frames = walker()
    repaired = [
        repair.update(mixed_up(frame, LEGS) if frame.header.seq == 30 else frame).persons[0].repaired
        for frame in frames
    ]
    assert repaired == [()] * 30 + [(1, 2, 3, 4, 5, 6)] + [()] * 19


def test_after_a_gap_no_mix_up_is_repaired():
    repair, _ = make_repair()
    frames = walker()
    for frame in frames[:20]:
        repair.update(frame)
    late = mixed_up(frames[40])  # 0.42 s later: the person may have turned
    assert same(repair.update(late), late)


def test_frames_that_go_back_in_time_are_not_repaired():
    repair, _ = make_repair()
    frames = walker()
    for frame in frames[10:20]:
        repair.update(frame)
    assert same(repair.update(mixed_up(frames[5])), mixed_up(frames[5]))


def test_each_person_is_compared_only_with_the_same_person_before():
    repair, _ = make_repair()
    frames = [
        replace(one, persons=(*one.persons, *mixed_up(other).persons))
        for one, other in zip(walker(), walker(id="b0000"), strict=True)
    ]
    assert all(same(repair.update(frame), frame) for frame in frames)


def test_missing_joints_stay_missing_on_their_side():
    repair, _ = make_repair()
    frames = walker()
    ankle = H36M17.joints.index("left_ankle")
    for frame in frames[:20]:
        repair.update(frame)
    person = frames[20].persons[0]
    xy, score = person.xy.copy(), person.score.copy()
    xy[ankle], score[ankle] = np.nan, 0
    hidden = replace(frames[20], persons=(replace(person, xy=xy, score=score),))
    assert same(repair.update(mixed_up(hidden)), hidden)


def test_a_frame_without_people_stays_as_it_is():
    repair, _ = make_repair()
    empty = replace(walker(frames=1)[0], persons=())
    assert same(repair.update(empty), empty)


@pytest.mark.parametrize(("fix_left_right", "repaired"), [(False, False), (True, True), ("auto", False)])
def test_the_pipeline_repairs_sides_before_lifting_and_leaves_those_of_other_programs(
    tiny_weights: Path, tmp_path: Path, fix_left_right: bool | str, repaired: bool
):
    frames = [mixed_up(frame) if 20 <= frame.header.seq < 25 else frame for frame in walker(frames=40)]
    write(tmp_path / "walk.jsonl", frames)
    pipeline = Pipeline(
        resolve(
            {
                "sources": {"cam0": {"type": "recording", "path": f"{tmp_path}/walk.jsonl", "speed": "full"}},
                "lifter": {"weights": str(tiny_weights), "device": "cpu", "threads": 1, "kp2d": True},
                "tracking": {"fix_left_right": fix_left_right},
                "sinks": {"out": {"type": "memory"}},
            }
        )
    )
    with pipeline:
        assert pipeline.wait(60)
    messages = pipeline.sink_threads["out"].sink.messages
    published = [message for message in messages if isinstance(message, PoseFrame)]
    unchanged = [
        np.array_equal(pose.persons[0].kp2d[:, :2], frame.persons[0].xy)
        for pose, frame in zip(published, frames, strict=True)
    ]
    assert unchanged == [True] * 20 + [not repaired] * 5 + [True] * 15
    assert pipeline.health.counter("cam0", "swaps") == (5 if repaired else 0)


def test_a_camera_whose_detector_runs_here_is_repaired_by_default():
    context = ComponentContext("webcam", clock=FakeClock())
    camera = CameraStages(
        (1280, 720),
        resolve({"sources": {"webcam": {"type": "opencv", "url": 0}}, "sinks": {"out": {"type": "memory"}}}),
        LifterInput("h36m17", 27),
        True,
        context,
        PeopleLimit(),
        RateLimitedLog(context.clock),
    )
    for frame in walker(frames=40):
        camera.push(mixed_up(frame) if 20 <= frame.header.seq < 25 else frame)
    assert context.health.counter("webcam", "swaps") == 5


def test_a_repair_of_the_arms_lasts_as_long_as_their_own_mix_up_after_one_of_the_legs():
    """Legs are exchanged for 2 s and arms from then on; every exchange may be repaired for 2.5 s."""
    repair, _ = make_repair()
    frames = sitter(210)
    pairs = [LEGS if 30 <= n < 130 else () for n in range(210)]
    pairs = [(*legs, *(ARMS if 125 <= n < 205 else ())) for n, legs in enumerate(pairs)]
    right = [
        looks_right(repair.update(mixed_up(frame, exchanged)), frame)
        for frame, exchanged in zip(frames, pairs, strict=True)
    ]
    assert np.mean(right) > 0.95


def test_hands_that_touch_are_hardly_exchanged_when_the_rest_of_the_body_disappears():
    """A half hidden body has not shrunk, so a few pixels of noise in its hands are no evidence."""
    still = CAMERA.project(CAMERA.view(figure(0.3, Walk(start_rad=FACING_CAMERA_RAD))))
    repaired = 0
    for seed in range(6):
        random, (repair, context) = np.random.default_rng(seed), make_repair()
        for seq in range(60):
            xy = still + random.normal(0, 2, (17, 2))
            for wrist, side in ((13, 1), (16, -1)):  # 6 px apart in front of the chest
                xy[wrist] = still[8] + [3 * side, 30] + random.normal(0, 4, 2)
            if seq >= 30:
                xy[np.delete(np.arange(17), [13, 16])] = np.nan
            repair.update(keypoints(xy, seq, seq / 50))
        repaired += context.health.counter("cam0", "swaps")
    assert repaired < 8  # of 180 frames; 27 if the size followed the visible joints
