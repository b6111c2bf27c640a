import gc

import numpy as np
import pytest

from stream.postprocess.blend import PassBlender, default_blend_frames
from stream.windows.ring import Ring

FRAMES = 60
STEP_NS = 20_000_000


def ring() -> Ring:
    return Ring(4, 1)


def times(end: int, shift: float = 0.0) -> np.ndarray:
    """Of a window whose newest frame is `end` - 1, in steps."""
    return ((np.arange(end - FRAMES, end) + shift) * STEP_NS).astype(np.int64)


def line(at_ns: np.ndarray, offset: float = 0.0, per_frame: float = 0.0) -> np.ndarray:
    """Poses (F, 1, 3) of a joint that moves along x, its root elsewhere."""
    poses = np.zeros((len(at_ns), 1, 3), np.float32)
    poses[:, 0, 0] = offset + per_frame * at_ns / STEP_NS
    return poses


def passes(seams: PassBlender, hop: int, lag: int, say, until: int = 400, shift: float = 0.0) -> np.ndarray:
    """What is published (N,) of a joint's x when `say(k, at_ns)` is what pass k says."""
    person, published = ring(), []
    for k, end in enumerate(range(FRAMES, until, hop)):
        at_ns = times(end, shift * k)
        last_ns = at_ns[-1 - lag]
        poses = seams.blend(person, at_ns, say(k, at_ns), last_ns)
        published += poses[FRAMES - lag - hop : FRAMES - lag, 0, 0].tolist()
    return np.array(published)


def jitter(x: np.ndarray) -> float:
    return float(np.abs(np.diff(x, n=2)).max())


def alternating(k: int, at_ns: np.ndarray) -> np.ndarray:
    """Every other pass says everything a centimetre further, and slower."""
    return line(at_ns, 0.01, 0.001) if k % 2 else line(at_ns, 0.0, 0.0011)


@pytest.mark.parametrize("lag", [0, 8])
def test_what_two_passes_say_becomes_one_motion(lag: int):
    rough, smooth = (passes(PassBlender(frames), 20, lag, alternating) for frames in (0, 20))
    assert jitter(rough) > 0.008
    assert jitter(smooth) < 0.0015


def test_after_its_frames_a_pass_is_what_the_lifter_says():
    at_ns, person, seams = times(FRAMES), ring(), PassBlender(10)
    seams.blend(person, at_ns, line(at_ns), at_ns[-1])
    later = times(FRAMES + 40)
    blended = seams.blend(person, later, line(later, 0.01), later[-1])[:, 0, 0]
    assert blended[FRAMES - 41] == 0.0  # published already
    assert 0 < blended[FRAMES - 40] < 0.002
    assert abs(blended[FRAMES - 30] - 0.01) < 0.001
    assert abs(blended[-1] - 0.01) < 1e-5


def test_the_speed_goes_on_as_well():
    person, seams, first, second = ring(), PassBlender(10), times(FRAMES), times(FRAMES + 20)
    said = seams.blend(person, first, line(first, 0.0, 0.01), first[-1])[:, 0, 0]
    more = seams.blend(person, second, line(second, 0.59), second[-1])[:, 0, 0]
    onward = more[FRAMES - 20] - said[-1]
    assert 0.005 < onward < 0.01  # a little less than before, not backwards to 0


def test_of_frames_looked_ahead_at_both_passes_have_a_say():
    person, seams, first, second = ring(), PassBlender(10), times(FRAMES), times(FRAMES + 8)
    ahead = line(first)
    ahead[-8:, 0, 0] = 0.02  # of the frames that are not published yet
    seams.blend(person, first, ahead, first[-9])
    mixed = seams.blend(person, second, line(second), second[-9])[:, 0, 0]
    assert mixed[FRAMES - 17] == 0.0  # the last one published
    np.testing.assert_allclose(mixed[FRAMES - 16], 0.02 * 1.5 * np.exp(-0.5), rtol=1e-5)
    assert (np.diff(mixed[FRAMES - 16 : FRAMES - 8]) < 0).all()


@pytest.mark.parametrize("lag", [0, 8])
def test_passes_that_agree_are_left_alone(lag: int):
    said = passes(PassBlender(20), 5, lag, lambda k, at_ns: line(at_ns, 1.0, 0.01))
    np.testing.assert_allclose(
        said, passes(PassBlender(0), 5, lag, lambda k, at_ns: line(at_ns, 1.0, 0.01)), atol=1e-5
    )


def test_grids_that_do_not_meet_are_compared_by_time():
    said = passes(PassBlender(20), 5, 0, lambda k, at_ns: line(at_ns, 1.0, 0.01), shift=0.3)
    never = passes(PassBlender(0), 5, 0, lambda k, at_ns: line(at_ns, 1.0, 0.01), shift=0.3)
    np.testing.assert_allclose(said, never, atol=1e-4)


def test_without_frames_every_pass_stays_as_it_is():
    at_ns = times(FRAMES)
    poses = line(at_ns)
    assert PassBlender(0).blend(ring(), at_ns, poses, at_ns[-1]) is poses


def test_what_was_said_more_than_a_window_ago_is_not_gone_on_from():
    person, seams, first, second = ring(), PassBlender(10), times(FRAMES), times(3 * FRAMES)
    seams.blend(person, first, line(first, 1.0), first[-1])
    np.testing.assert_array_equal(seams.blend(person, second, line(second), second[-1]), line(second))


def test_a_person_spoken_of_after_their_newest_frame_stays_as_published():
    person, seams, first, second = ring(), PassBlender(10), times(FRAMES), times(FRAMES + 5)
    seams.blend(person, first, line(first), first[-1])
    published = seams.blend(person, second, line(second, 0.02), second[-1] + 3 * STEP_NS)[-1, 0, 0]
    again = seams.blend(person, second, line(second, 0.05), second[-1] + 9 * STEP_NS)[-1, 0, 0]
    assert again == pytest.approx(published)
    later = times(FRAMES + 20)
    more = seams.blend(person, later, line(later, 0.05), later[-1])[:, 0, 0]
    assert more[FRAMES - 16] == pytest.approx(published)
    assert abs(more[-1] - 0.05) < 0.003


def test_people_do_not_hear_of_each_other():
    seams, first, second = PassBlender(10), times(FRAMES), times(FRAMES + 5)
    seams.blend(ring(), first, line(first, 1.0), first[-1])
    np.testing.assert_array_equal(seams.blend(ring(), second, line(second), second[-1]), line(second))


def test_what_was_said_goes_with_the_person():
    person, seams, at_ns = ring(), PassBlender(10), times(FRAMES)
    seams.blend(person, at_ns, line(at_ns), at_ns[-1])
    assert len(seams._said) == 1
    del person
    gc.collect()
    assert len(seams._said) == 0


def test_the_start_of_a_history_that_is_all_padding_makes_no_speed():
    person, seams = ring(), PassBlender(10)
    first = np.zeros(FRAMES, np.int64)
    seams.blend(person, first, line(np.arange(FRAMES) * STEP_NS, 0.0, 0.01), 0)
    second = np.r_[np.zeros(FRAMES - 1, np.int64), STEP_NS]
    blended = seams.blend(person, second, line(second, 5.0), STEP_NS)
    assert np.isfinite(blended).all()
    assert blended[-2, 0, 0] == pytest.approx(0.59)  # as published


def test_the_fade_is_short_without_look_ahead():
    assert [default_blend_frames(lag) for lag in (0, 8, 32, 121)] == [5, 13, 25, 25]


@pytest.mark.parametrize(("hop", "lag", "shift"), [(1, 0, 0.0), (7, 0, 0.3), (5, 12, 0.4)])
def test_poses_older_than_a_seam_reads_change_nothing(hop, lag, shift):
    say, person, whole, few = np.random.default_rng(0), ring(), PassBlender(10), PassBlender(10)
    for k, end in enumerate(range(FRAMES, 200, hop)):
        at_ns, poses = times(end, shift * k), say.normal(size=(FRAMES, 1, 3)).astype(np.float32)
        since_ns, until_ns = at_ns[-lag - hop], at_ns[-1 - lag]
        last = few.reads(person, at_ns, since_ns)
        assert lag + hop < last <= lag + hop + 6
        joined = few.blend(person, at_ns[-last:], poses[-last:], until_ns)
        expected = whole.blend(person, at_ns, poses, until_ns)
        np.testing.assert_allclose(joined[-lag - hop :], expected[-lag - hop :], atol=1e-6)
