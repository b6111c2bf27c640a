import numpy as np
import pytest

from lifter.evaluation.labelled_video import bone_variation
from lifter.refinement import Recording, refine, segments
from sources.walking_figure import VirtualCamera, Walk, figure
from stream.messages import F32
from stream.skeletons import skeleton_named

SKELETON = skeleton_named("h36m17")
FOCAL, CENTRE = (900.0, 900.0), (640.0, 360.0)
FRAMES = 40


@pytest.fixture(scope="module")
def truth() -> F32:
    """A walking person (F, 17, 3) in metres from the root, in the axes of a camera."""
    camera = VirtualCamera(size_wh=(1280, 720))
    poses = np.stack([camera.view(figure(frame / 50, Walk())) for frame in range(FRAMES)])
    return (poses - poses[:, :1]).astype(np.float32)


def recording(truth: F32, noise_m: float, seed: int = 0) -> Recording:
    """Exact keypoints of the truth 4 m away, and poses with noise."""
    camera = truth + np.float32([0.2, 0.1, 4.0])
    xy = camera[..., :2] / camera[..., 2:] * FOCAL + CENTRE
    keypoints = np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1).astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, noise_m, truth.shape)
    noisy = (truth + noise).astype(np.float32)
    return Recording(noisy - noisy[:, :1], keypoints, 50.0, FOCAL, CENTRE)


def error_mm(poses: F32, truth: F32) -> float:
    return float(1e3 * np.linalg.norm(poses - truth, axis=-1).mean())


def test_noise_of_poses_is_reduced_and_bones_become_constant(truth):
    noisy = recording(truth, 0.03)
    refined = refine(noisy, SKELETON)
    assert (refined.shape, refined.dtype) == (truth.shape, np.float32)
    assert error_mm(refined, truth) < 0.5 * error_mm(noisy.xyz, truth)
    assert bone_variation(refined) < 1.0 < bone_variation(noisy.xyz)
    assert (refined[:, 0] == 0).all()


def test_keypoints_decide_where_the_lifter_is_steadily_wrong(truth):
    """A wrist that is 5 cm off across the image in all frames returns to its keypoint."""
    exact = recording(truth, 0.0)
    wrong = exact.xyz.copy()
    wrong[:, SKELETON.index_of["left_wrist"], 0] += 0.05
    refined = refine(Recording(wrong, exact.keypoints, 50.0, FOCAL, CENTRE), SKELETON)
    wrist = SKELETON.index_of["left_wrist"]
    assert error_mm(refined[:, [wrist]], truth[:, [wrist]]) < 36


def test_keypoints_far_off_and_missing_do_no_harm(truth):
    exact = recording(truth, 0.01)
    keypoints = exact.keypoints.copy()
    keypoints[::7, 3, :2] += 300  # px
    keypoints[5:9, :, 2] = 0
    keypoints[12, 4] = np.nan
    refined = refine(Recording(exact.xyz, keypoints, 50.0, FOCAL, CENTRE), SKELETON)
    assert error_mm(refined, truth) < error_mm(exact.xyz, truth)


def test_a_person_seen_for_a_moment_stays_as_lifted(truth):
    short = recording(truth[:9], 0.01)
    assert refine(short, SKELETON) is short.xyz


def test_a_recording_without_keypoints_is_only_smoothed(truth):
    noisy = recording(truth, 0.02)
    without = Recording(noisy.xyz, np.zeros_like(noisy.keypoints), 50.0, FOCAL, CENTRE)
    assert error_mm(refine(without, SKELETON), truth) < error_mm(noisy.xyz, truth)


def test_segments_end_at_gaps():
    captured_ns = np.array([0, 20, 40, 900, 920], np.int64)
    assert segments(captured_ns, 500) == [slice(0, 3), slice(3, 5)]
    assert segments(captured_ns[:1], 500) == [slice(0, 1)]
