"""Joint positions become rotations of the rig, and forward kinematics gives the positions back."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from stream.messages import Header, Pose
from stream.postprocess.batch import PoseBatch
from stream.postprocess.bone_lengths import BoneLengths
from stream.postprocess.joint_rotations import JointRotations, Twist
from stream.postprocess.one_euro import OneEuro
from stream.rig import HUMANOID
from tests.rig_examples import HZ, REST, B, about, dance, joints


def rotated(
    frames: list[np.ndarray], step: JointRotations | None = None, first: int = 0, id: str = "a"
) -> list:
    """The rotations of one person in successive frames."""
    step = step or JointRotations()
    answers = []
    for n, xyz in enumerate(frames, first):
        xyz = xyz.astype(np.float32)
        pose = Pose(id, "ok" if n else "new", xyz, np.ones(17, np.float32), np.ones(17, np.uint8))
        header = Header("cam0", n, n * 10**9 // HZ, n)
        batch = PoseBatch.from_poses("h36m17", header, (640, 480), [pose], "cam0_optical_frame")
        step.apply(batch)
        answers.append(batch.pose(0).rotations)
    return answers


def degrees(rotations, bone: str) -> np.ndarray:
    """Rotation vector of a bone in degrees."""
    return np.degrees(Rotation.from_quat(rotations.quat[B[bone]]).as_rotvec())


def kinematics(rotations) -> np.ndarray:
    """Heads (19, 3) of the bones by scipy, independent of the rig's own forward kinematics."""
    world, heads = [], []
    for bone, parent in enumerate(HUMANOID.parents):
        turn = Rotation.from_quat(rotations.quat[bone].astype(float))
        world.append(turn if parent < 0 else world[parent] * turn)
        heads.append(np.zeros(3) if parent < 0 else heads[parent] + world[parent].apply(rotations.rest[bone]))
    return np.array(heads)


def test_a_t_pose_has_no_rotation_but_that_of_the_hips():
    (answer,) = rotated([joints()])
    np.testing.assert_allclose(answer.quat[1:], np.tile([0, 0, 0, 1], (18, 1)), atol=1e-6)
    np.testing.assert_allclose(
        np.abs(answer.quat[0]), [1, 0, 0, 0], atol=1e-6
    )  # half a turn: towards the camera
    np.testing.assert_allclose(answer.rest, REST, atol=1e-6)


def test_forward_kinematics_returns_a_skeleton_of_constant_lengths():
    frames = dance(6)
    for xyz, answer in zip(frames, rotated(frames), strict=True):
        wanted = xyz[list(HUMANOID.heads)]
        assert np.abs(kinematics(answer) - wanted).max() < 1e-5  # 0.01 mm


@pytest.mark.parametrize(
    ("bone", "turn", "wanted"),
    [
        ("LeftLowerArm", about(y=-90), (0, -90, 0)),  # forearms swing ahead
        ("RightLowerArm", about(y=90), (0, 90, 0)),
        ("LeftLowerLeg", about(x=70), (70, 0, 0)),  # heels go back
        ("RightLowerLeg", about(x=70), (70, 0, 0)),
    ],
)
def test_a_bent_limb_turns_about_its_hinge(bone: str, turn: np.ndarray, wanted: tuple[float, float, float]):
    (answer,) = rotated([joints(**{bone: turn})])
    np.testing.assert_allclose(degrees(answer, bone), wanted, atol=0.1)
    upper = bone.replace("Lower", "Upper")
    np.testing.assert_allclose(degrees(answer, upper), 0, atol=0.1)
    assert answer.twist[B[upper]] == Twist.MEASURED


def test_the_plane_of_a_bent_elbow_shows_the_twist_of_the_upper_arm():
    (answer,) = rotated([joints(LeftUpperArm=about(x=-60), LeftLowerArm=about(y=-80))])
    np.testing.assert_allclose(degrees(answer, "LeftUpperArm"), (-60, 0, 0), atol=0.1)


def test_the_head_turns_with_the_face():
    (answer,) = rotated([joints(Neck=about(y=30))])  # the face goes aside, the top of the head hardly moves
    chain = [Rotation.from_quat(answer.quat[B[bone]]) for bone in ("Spine", "Chest", "Neck", "Head")]
    turned = chain[0] * chain[1] * chain[2] * chain[3]
    np.testing.assert_allclose(np.degrees(turned.as_rotvec()), (0, 30, 0), atol=0.1)


def test_the_neck_is_level_when_the_person_looks_ahead():
    (answer,) = rotated([joints()])
    assert np.abs(degrees(answer, "Neck")).max() < 0.1


def test_a_straight_limb_holds_its_last_twist():
    bent = joints(LeftUpperArm=about(x=-60), LeftLowerArm=about(y=-80))
    straight = joints(LeftUpperArm=about(x=-60), LeftLowerArm=about(y=-5))
    answers = rotated([bent, straight, straight])
    assert [answer.twist[B["LeftUpperArm"]] for answer in answers] == [Twist.MEASURED, Twist.HELD, Twist.HELD]
    assert degrees(answers[-1], "LeftUpperArm")[0] == pytest.approx(-60, abs=8)


def test_a_knee_that_bends_forwards_by_noise_is_ignored():
    answers = rotated([joints(LeftLowerLeg=about(x=40))] * 5 + [joints(LeftLowerLeg=about(x=-20))] * 5)
    assert all(abs(degrees(answer, "LeftUpperLeg")[1]) < 5 for answer in answers)


def test_a_twist_turns_no_faster_than_its_limit():
    before = joints(LeftUpperArm=about(x=-60), LeftLowerArm=about(y=-80))
    after = joints(LeftUpperArm=about(x=60), LeftLowerArm=about(y=-80))
    answers = rotated([before] * 3 + [after] * 30)
    turns_deg = np.diff([degrees(answer, "LeftUpperArm")[0] for answer in answers])
    assert np.abs(turns_deg).max() <= 400 / HZ + 0.01
    assert degrees(answers[-1], "LeftUpperArm")[0] == pytest.approx(60, abs=1)


def test_signs_are_continuous_through_a_full_turn():
    quats = np.array([answer.quat for answer in rotated([joints(Hips=about(y=7.0 * n)) for n in range(120)])])
    assert (np.einsum("tbi,tbi->tb", quats[1:], quats[:-1]) > 0).all()


def test_a_missing_joint_holds_the_last_rotation():
    whole = joints(LeftLowerArm=about(y=-80))
    hidden = whole.copy()
    hidden[13] = np.nan
    first, second = rotated([whole, hidden])
    np.testing.assert_array_equal(second.quat[B["LeftLowerArm"]], first.quat[B["LeftLowerArm"]])
    assert second.twist[B["LeftLowerArm"]] == Twist.HELD
    assert np.isfinite(second.quat).all()


def smoothed(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Frames through the filters that the configs for avatars and robots switch on."""
    euro, bones = OneEuro(OneEuro.Settings(min_cutoff_hz=3, beta=30), 17), BoneLengths("h36m17")
    answers = []
    for n, xyz in enumerate(frames):
        captured_ns, xyz = n * 10**9 // HZ, (xyz - xyz[0]).astype(np.float32)
        bones.observe(xyz, np.ones(17, bool), captured_ns)
        answers.append(bones.apply(euro.update(xyz, captured_ns)))
    return answers


@pytest.mark.parametrize(
    ("noise_m", "smooth"),
    [(0.008 / 3**0.5, lambda frames: frames), (0.008, smoothed)],
    ids=["8 mm long", "8 mm along each axis, smoothed"],
)
def test_noise_makes_no_jumps(noise_m: float, smooth: Callable[[list[np.ndarray]], list[np.ndarray]]):
    random = np.random.default_rng(5)
    frames = smooth([xyz + random.normal(scale=noise_m, size=xyz.shape) for xyz in dance(20)])
    quats = np.array([answer.quat for answer in rotated(frames)], float)
    cosine = np.abs(np.einsum("tbi,tbi->tb", quats[1:], quats[:-1])).clip(0, 1)
    jumps = (np.degrees(2 * np.arccos(cosine)) > 25).sum(axis=0)
    for limb in ("UpperArm", "LowerArm", "UpperLeg"):
        assert max(jumps[B[f"Left{limb}"]], jumps[B[f"Right{limb}"]]) <= 1, limb  # 3 a minute


def test_a_lost_person_has_no_rotations():
    pose = Pose(
        "a", "lost", np.full((17, 3), np.nan, np.float32), np.zeros(17, np.float32), np.zeros(17, np.uint8)
    )
    batch = PoseBatch.from_poses("h36m17", Header("cam0", 0, 0, 0), (640, 480), [pose], "cam0_optical_frame")
    JointRotations().apply(batch)
    assert batch.pose(0).rotations is None


def test_a_batch_of_several_frames_gives_what_one_after_the_other_gives():
    frames = dance(1)
    alone = rotated(frames)
    step = JointRotations()
    poses = [
        Pose(
            "a", "ok" if n else "new", xyz.astype(np.float32), np.ones(17, np.float32), np.ones(17, np.uint8)
        )
        for n, xyz in enumerate(frames)
    ]
    single = [
        PoseBatch.from_poses(
            "h36m17", Header("cam0", n, n * 10**9 // HZ, n), (640, 480), [pose], "cam0_optical_frame"
        )
        for n, pose in enumerate(poses)
    ]
    many = PoseBatch("h36m17", 17, [], ["a"] * len(poses), [pose.state for pose in poses])
    for row, (batch, pose) in enumerate(zip(single, poses, strict=True)):
        frame = batch.frames[0]
        frame.rows = range(row, row + 1)
        many.frames.append(frame)
        many.xyz[row] = pose.xyz
    step.apply(many)
    for row, answer in enumerate(alone):
        np.testing.assert_array_equal(many.pose(row).rotations.quat, answer.quat)
