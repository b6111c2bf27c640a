import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from stream.postprocess.blend import PassBlender, PersonPass, default_blend_frames
from stream.windows.ring import Ring

FRAMES = 60
STEP_NS = 20_000_000
Lift = Callable[[int, np.ndarray], np.ndarray]  # pass number and times (F,) to poses (F, 1, 3)


def ring() -> Ring:
    return Ring(4, 1)


def times(end: int, shift: float = 0.0) -> np.ndarray:
    """Times (F,) of a window whose newest frame is `end` - 1, shifted by steps."""
    return ((np.arange(end - FRAMES, end) + shift) * STEP_NS).astype(np.int64)


def line(at_ns: np.ndarray, offset: float = 0.0, per_frame: float = 0.0) -> np.ndarray:
    """Poses (F, 1, 3) of a joint that moves evenly along x."""
    poses = np.zeros((len(at_ns), 1, 3), np.float32)
    poses[:, 0, 0] = offset + per_frame * at_ns / STEP_NS
    return poses


def publish(blender: PassBlender, hop: int, lag: int, lift: Lift, shift: float = 0.0) -> np.ndarray:
    """The published x (N,) of a joint when pass k lifts to lift(k, at_ns)."""
    person, published = ring(), []
    for k, end in enumerate(range(FRAMES, 400, hop)):
        at_ns = times(end, shift * k)
        poses = blender.blend(person, at_ns, lift(k, at_ns), at_ns[-1 - lag])
        published += poses[FRAMES - lag - hop : FRAMES - lag, 0, 0].tolist()
    return np.array(published)


def jitter(x: np.ndarray) -> float:
    return float(np.abs(np.diff(x, n=2)).max())


def alternating(k: int, at_ns: np.ndarray) -> np.ndarray:
    """Every other pass is a centimetre further, and slower."""
    return line(at_ns, 0.01, 0.001) if k % 2 else line(at_ns, 0.0, 0.0011)


@pytest.mark.parametrize("lag", [0, 8])
def test_successive_passes_become_one_smooth_motion(lag: int):
    rough, smooth = (publish(PassBlender(frames), 20, lag, alternating) for frames in (0, 20))
    assert jitter(rough) > 0.008
    assert jitter(smooth) < 0.0015


def test_after_the_blend_frames_a_pass_is_as_lifted():
    at_ns, person, blender = times(FRAMES), ring(), PassBlender(10)
    blender.blend(person, at_ns, line(at_ns), at_ns[-1])
    later = times(FRAMES + 40)
    blended = blender.blend(person, later, line(later, 0.01), later[-1])[:, 0, 0]
    assert blended[FRAMES - 41] == 0.0  # published already
    assert 0 < blended[FRAMES - 40] < 0.002
    assert abs(blended[FRAMES - 30] - 0.01) < 0.001
    assert abs(blended[-1] - 0.01) < 1e-5


def test_the_speed_has_no_jump_either():
    person, blender, first, second = ring(), PassBlender(10), times(FRAMES), times(FRAMES + 20)
    before = blender.blend(person, first, line(first, 0.0, 0.01), first[-1])[:, 0, 0]
    after = blender.blend(person, second, line(second, 0.59), second[-1])[:, 0, 0]
    next_step = after[FRAMES - 20] - before[-1]
    assert 0.005 < next_step < 0.01  # a little less than before, not 0


def test_frames_that_both_passes_looked_ahead_at_are_mixed_from_both():
    person, blender, first, second = ring(), PassBlender(10), times(FRAMES), times(FRAMES + 8)
    first_poses = line(first)
    first_poses[-8:, 0, 0] = 0.02  # of the frames that are not published yet
    blender.blend(person, first, first_poses, first[-9])
    mixed = blender.blend(person, second, line(second), second[-9])[:, 0, 0]
    assert mixed[FRAMES - 17] == 0.0  # the last one published
    np.testing.assert_allclose(mixed[FRAMES - 16], 0.02 * 1.5 * np.exp(-0.5), rtol=1e-5)
    assert (np.diff(mixed[FRAMES - 16 : FRAMES - 8]) < 0).all()


@pytest.mark.parametrize("lag", [0, 8])
def test_passes_that_agree_stay_as_lifted(lag: int):
    blended, lifted = (
        publish(PassBlender(frames), 5, lag, lambda k, at_ns: line(at_ns, 1.0, 0.01)) for frames in (20, 0)
    )
    np.testing.assert_allclose(blended, lifted, atol=1e-5)


def test_passes_on_shifted_grids_are_compared_by_time():
    blended, lifted = (
        publish(PassBlender(frames), 5, 0, lambda k, at_ns: line(at_ns, 1.0, 0.01), shift=0.3)
        for frames in (20, 0)
    )
    np.testing.assert_allclose(blended, lifted, atol=1e-4)


def test_zero_blend_frames_leave_every_pass_as_lifted():
    at_ns = times(FRAMES)
    poses = line(at_ns)
    assert PassBlender(0).blend(ring(), at_ns, poses, at_ns[-1]) is poses


def test_a_pass_without_frames_in_common_with_the_last_one_stays_as_lifted():
    person, blender, first, second = ring(), PassBlender(10), times(FRAMES), times(3 * FRAMES)
    blender.blend(person, first, line(first, 1.0), first[-1])
    np.testing.assert_array_equal(blender.blend(person, second, line(second), second[-1]), line(second))


def test_poses_held_after_the_newest_frame_stay_as_published():
    person, blender, first, second = ring(), PassBlender(10), times(FRAMES), times(FRAMES + 5)
    blender.blend(person, first, line(first), first[-1])
    published = blender.blend(person, second, line(second, 0.02), second[-1] + 3 * STEP_NS)[-1, 0, 0]
    again = blender.blend(person, second, line(second, 0.05), second[-1] + 9 * STEP_NS)[-1, 0, 0]
    assert again == pytest.approx(published)
    later = times(FRAMES + 20)
    more = blender.blend(person, later, line(later, 0.05), later[-1])[:, 0, 0]
    assert more[FRAMES - 16] == pytest.approx(published)
    assert abs(more[-1] - 0.05) < 0.003


def test_people_are_blended_independently():
    blender, first, second = PassBlender(10), times(FRAMES), times(FRAMES + 5)
    blender.blend(ring(), first, line(first, 1.0), first[-1])
    np.testing.assert_array_equal(blender.blend(ring(), second, line(second), second[-1]), line(second))


def test_neither_a_ring_nor_the_poses_of_a_whole_pass_are_kept_alive():
    person, blender, at_ns = ring(), PassBlender(10), times(FRAMES)
    poses = weakref.ref(blender.blend(person, at_ns, line(at_ns), at_ns[-1]))
    kept = weakref.ref(person)
    gc.collect()
    assert poses() is None
    del person
    gc.collect()
    assert kept() is None


def test_the_passes_of_a_batch_are_blended_as_those_of_single_people():
    people, starts_ns = [ring() for _ in range(5)], [0, 0, 7, STEP_NS // 3, 2 * STEP_NS]
    together, alone = PassBlender(10), PassBlender(10)
    for step in range(3):
        passes, poses = [], []
        for index, person in enumerate(people):
            at_ns = times(FRAMES) + starts_ns[index] + step * STEP_NS * (1 + index % 2)
            passes.append(PersonPass(person, at_ns, int(at_ns[-1 - index])))
            poses.append(line(at_ns, 0.1 * step, 0.01 * index))
        blended = together.blend_all(passes, np.array(poses))
        for lifted, single, result in zip(passes, poses, blended, strict=True):
            np.testing.assert_array_equal(alone.blend(*lifted[:2], single, lifted.until_ns), result)


def test_padding_before_the_first_frame_gives_no_speed():
    person, blender = ring(), PassBlender(10)
    first = np.zeros(FRAMES, np.int64)
    blender.blend(person, first, line(np.arange(FRAMES) * STEP_NS, 0.0, 0.01), 0)
    second = np.r_[np.zeros(FRAMES - 1, np.int64), STEP_NS]
    blended = blender.blend(person, second, line(second, 5.0), STEP_NS)
    assert np.isfinite(blended).all()
    assert blended[-2, 0, 0] == pytest.approx(0.59)  # as published


def test_the_default_fade_grows_with_the_look_ahead():
    assert [default_blend_frames(lag) for lag in (0, 8, 32, 121)] == [5, 13, 25, 25]


@pytest.mark.parametrize(("hop", "lag", "shift"), [(1, 0, 0.0), (7, 0, 0.3), (5, 12, 0.4)])
def test_poses_older_than_the_frames_needed_change_nothing(hop, lag, shift):
    random, person, all_frames, few_frames = (
        np.random.default_rng(0),
        ring(),
        PassBlender(10),
        PassBlender(10),
    )
    for k, end in enumerate(range(FRAMES, 200, hop)):
        at_ns, poses = times(end, shift * k), random.normal(size=(FRAMES, 1, 3)).astype(np.float32)
        since_ns, until_ns = at_ns[-lag - hop], at_ns[-1 - lag]
        last = few_frames.frames_needed(person, at_ns, since_ns)
        assert lag + hop < last <= lag + hop + 6
        blended = few_frames.blend(person, at_ns[-last:], poses[-last:], until_ns)
        expected = all_frames.blend(person, at_ns, poses, until_ns)
        np.testing.assert_allclose(blended[-lag - hop :], expected[-lag - hop :], atol=1e-6)


def test_after_dropped_frames_the_frames_since_the_last_published_pose_are_needed():
    """The pass before ended ten frames before the first pose to publish; its difference fades from there."""
    person, all_frames, few_frames = ring(), PassBlender(10), PassBlender(10)
    first, second = times(FRAMES), times(FRAMES + 20)
    for blender in (all_frames, few_frames):
        blender.blend(person, first, line(first), first[-1])
    since_ns = second[-10]
    needed = few_frames.frames_needed(person, second, since_ns)
    expected = all_frames.blend(person, second, line(second, 0.01), second[-1])
    blended = few_frames.blend(person, second[-needed:], line(second, 0.01)[-needed:], second[-1])
    assert abs(expected[-10, 0, 0] - 0.01) > 1e-4  # not faded yet
    np.testing.assert_allclose(blended[-10:], expected[-10:], atol=1e-6)
