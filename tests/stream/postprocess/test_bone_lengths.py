from collections.abc import Callable

import numpy as np

from sources.walking_figure import Walk, figure
from stream.postprocess.bone_lengths import BoneLengths
from stream.skeletons import skeleton_named

SKELETON = skeleton_named("h36m17")
PARENTS = list(SKELETON.parents)[1:]
LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST, RIGHT_WRIST = (
    SKELETON.joints.index(name) for name in ("left_shoulder", "left_elbow", "left_wrist", "right_wrist")
)
ALL_VISIBLE = np.ones(17, bool)
HZ = 50


def times(seconds: float = 4.0) -> np.ndarray:
    return np.arange(round(HZ * seconds)) / HZ


def walk(t_s: float) -> np.ndarray:
    """A walker (17, 3) float32 whose joints shake by 20 mm and whose pelvis is the origin."""
    xyz = figure(t_s, Walk())
    xyz = xyz - xyz[0] + np.random.default_rng(round(1000 * t_s)).normal(0, 0.02, xyz.shape)
    xyz[0] = 0
    return xyz.astype(np.float32)


def corrected(
    times_s: np.ndarray, motion: Callable[[float], np.ndarray] = walk, visible: np.ndarray = ALL_VISIBLE
) -> np.ndarray:
    """The poses (T, 17, 3) of a motion, each observed and then corrected."""
    bones, poses = BoneLengths("h36m17"), []
    for t_s in times_s:
        xyz = motion(t_s)
        bones.observe(xyz, visible, round(1e9 * t_s))
        poses.append(bones.apply(xyz))
    return np.stack(poses)


def lengths(poses: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[:, 1:] - poses[:, PARENTS], axis=2)


def variation(poses: np.ndarray) -> np.ndarray:
    """Standard deviation of each bone's length over its mean."""
    return lengths(poses).std(axis=0) / lengths(poses).mean(axis=0)


def test_bones_keep_their_length_and_their_direction():
    raw, held = np.stack([walk(t_s) for t_s in times()]), corrected(times())
    last = times() >= 3
    assert variation(held[last]).max() < 0.02 < variation(raw[last]).min()
    np.testing.assert_allclose(lengths(held)[-1], np.median(lengths(raw), axis=0), rtol=0.1)
    bones = [poses[-1, 1:] - poses[-1, PARENTS] for poses in (raw, held)]
    directions = [bone / np.linalg.norm(bone, axis=1, keepdims=True) for bone in bones]
    np.testing.assert_allclose(*directions, atol=1e-5)


def test_in_the_first_quarter_of_a_second_bones_stay_as_lifted():
    np.testing.assert_array_equal(corrected(times(0.2)), np.stack([walk(t_s) for t_s in times(0.2)]))


def test_a_pose_three_times_too_large_every_second_does_not_change_the_bones():
    wild = corrected(times(), lambda t_s: walk(t_s) * np.float32(3.0 if round(t_s * HZ) % HZ == 0 else 1.0))
    np.testing.assert_allclose(lengths(wild)[-1], lengths(corrected(times()))[-1], rtol=0.05)


def test_a_bone_whose_joint_is_not_observed_stays_as_lifted():
    def long_arm(t_s: float) -> np.ndarray:
        xyz = walk(t_s)
        xyz[LEFT_WRIST] = xyz[LEFT_ELBOW] + [0, 0, 0.9]
        return xyz

    visible = np.arange(17) != LEFT_WRIST
    raw, held = long_arm(times()[-1]), corrected(times(), long_arm, visible)[-1]
    np.testing.assert_allclose(held[LEFT_WRIST] - held[LEFT_ELBOW], [0, 0, 0.9], atol=1e-5)
    change = lengths(held[None])[0] - lengths(raw[None])[0]
    assert abs(change[RIGHT_WRIST - 1]) > 1e-4


def test_an_absent_joint_makes_no_other_joint_absent():
    def without_shoulder(t_s: float) -> np.ndarray:
        xyz = walk(t_s)
        xyz[LEFT_SHOULDER] = np.nan
        return xyz

    present = np.isfinite(corrected(times(3), without_shoulder)[-1]).all(axis=1)
    assert np.flatnonzero(~present).tolist() == [LEFT_SHOULDER]


def test_bones_of_joints_that_were_filled_in_are_not_measured() -> None:
    """The left wrist is at a wrong place whenever it is not seen; its bone keeps the length seen before."""
    bones, true_length_m = BoneLengths("h36m17"), []
    for frame, t_s in enumerate(times()):
        xyz, visible = walk(t_s), ALL_VISIBLE.copy()
        if frame % 2:
            visible[LEFT_WRIST] = False
            xyz[LEFT_WRIST] = xyz[LEFT_ELBOW] + [1, 0, 0]
        else:
            true_length_m.append(np.linalg.norm(xyz[LEFT_WRIST] - xyz[LEFT_ELBOW]))
        bones.observe(xyz, visible, round(1e9 * t_s))
    corrected_pose = bones.apply(xyz)
    length_m = np.linalg.norm(corrected_pose[LEFT_WRIST] - corrected_pose[LEFT_ELBOW])
    assert abs(length_m - np.median(true_length_m)) < 0.02
