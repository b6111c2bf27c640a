from dataclasses import replace

import numpy as np
import pytest

from sources.walking_figure import VirtualCamera, Walk, figure
from stream.cameras.intrinsics import Camera
from stream.errors import ConfigError
from stream.messages import Header, JointOrigin, Pose, PoseFrame
from stream.scene.root_position import RootPosition
from tests.stream.people import INTRINSICS, SIZE_WH, processed

CAMERA = VirtualCamera(size_wh=SIZE_WH)  # 1000 px focal length
WALK = Walk(height_m=1.8)


def true_joints(t_s: float = 0.0, walk: Walk = WALK) -> np.ndarray:
    """(17, 3) metres in camera axes."""
    return CAMERA.view(figure(t_s, walk))


def seen_pose(joints: np.ndarray, id: str = "a", **changes) -> Pose:
    """The pose of a person detected and lifted without error."""
    kp2d = np.concatenate([CAMERA.project(joints), np.ones((17, 1))], axis=1)
    values = {
        "state": "ok",
        "xyz": (joints - joints[0]).astype(np.float32),
        "score": np.ones(17, np.float32),
        "origin": np.full(17, JointOrigin.OBSERVED, np.uint8),
        "kp2d": kp2d.astype(np.float32),
    }
    return Pose(id=id, **(values | changes))


def frame(*persons: Pose, at_s: float = 0.0, source: str = "cam0") -> PoseFrame:
    at_ns = round(at_s * 1e9)
    return PoseFrame(Header(source, round(at_s * 50), at_ns, at_ns), persons)


def step_with(**settings) -> RootPosition:
    settings = {"cameras": {"cam0": INTRINSICS}, **settings}
    return RootPosition(RootPosition.Settings(**settings))


def without(joints: np.ndarray, *missing: int) -> Pose:
    """A person with these joints not detected, and predicted at a wrong pixel."""
    pose = seen_pose(joints)
    pose.kp2d[list(missing)] = (5.0, 5.0, 0.0)
    pose.score[list(missing)] = 0
    pose.origin[list(missing)] = JointOrigin.PREDICTED
    return pose


def test_an_exact_pose_has_an_exact_root():
    for t_s in (0.0, 1.3, 4.1, 7.7):
        joints = true_joints(t_s)
        (person,) = processed(step_with(), frame(seen_pose(joints))).persons
        assert person.root == pytest.approx(joints[0], abs=1e-3)
        assert person.root.dtype == np.float32


def test_joints_that_are_not_detected_do_not_count():
    joints = true_joints()
    (person,) = processed(step_with(), frame(without(joints, 0, 1, 2, 3, 4, 5, 6))).persons
    assert person.root == pytest.approx(joints[0], abs=1e-3)


def test_joints_absent_from_the_pose_do_not_count():
    pose = seen_pose(true_joints())
    pose.xyz[[3, 6]], pose.origin[[3, 6]] = np.nan, JointOrigin.ABSENT
    (person,) = processed(step_with(), frame(pose)).persons
    assert person.root == pytest.approx(true_joints()[0], abs=1e-3)


def test_too_few_joints_give_no_root():
    pose = without(true_joints(), *range(13))
    (person,) = processed(step_with(height_m=1.8), frame(pose)).persons
    assert (person.root, person.root_status) == (None, "none")


def test_joints_in_one_spot_of_the_image_give_no_root():
    pose = seen_pose(true_joints())
    pose.kp2d[:, :2] = 300.0
    assert processed(step_with(), frame(pose)).persons[0].root is None


def test_a_pose_that_is_one_point_gives_no_root():
    pose = seen_pose(true_joints(), xyz=np.zeros((17, 3), np.float32))
    assert processed(step_with(height_m=1.8), frame(pose)).persons[0].root is None


def test_outliers_hardly_move_the_root():
    joints = true_joints()
    pose = seen_pose(joints)
    pose.kp2d[[3, 13, 16], :2] += [(300, -200), (-250, 250), (200, 300)]
    (person,) = processed(step_with(), frame(pose)).persons
    assert np.linalg.norm(person.root - joints[0]) < 0.03


def test_a_given_height_scales_pose_and_distance_alike():
    joints = true_joints()
    pose = seen_pose(joints)
    small = replace(pose, xyz=pose.xyz * np.float32(0.8))
    for lifted in (pose, small):  # the scale of the lifted pose does not count
        (person,) = processed(step_with(height_m=1.8), frame(lifted)).persons
        # The walker's proportions are not exactly the average ones by which a height becomes bone lengths.
        assert person.root == pytest.approx(joints[0], rel=0.03, abs=1e-3)
        assert CAMERA.project(person.root + person.xyz) == pytest.approx(pose.kp2d[:, :2], abs=0.05)


def test_without_a_height_the_pose_stays_as_lifted():
    pose = seen_pose(true_joints())
    assert processed(step_with(), frame(pose)).persons[0].xyz.tolist() == pose.xyz.tolist()


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"height_m": 1.8}, "metric"),
        ({"height_m": 1.8, "cameras": {}}, "height"),
        ({"height_m": 1.8, "cameras": {"cam1": INTRINSICS}}, "height"),
        ({}, "none"),
        ({"cameras": {}}, "none"),
    ],
)
def test_the_status_tells_whether_height_and_calibration_are_given(settings: dict, status: str):
    (person,) = processed(step_with(**settings), frame(seen_pose(true_joints()))).persons
    assert person.root is not None
    assert person.root_status == status


def test_a_lost_person_has_no_root():
    step = step_with(height_m=1.8)
    processed(step, frame(seen_pose(true_joints())))
    absent, zero = np.full((17, 3), np.nan, np.float32), np.zeros(17, np.float32)
    lost = Pose("a", "lost", absent, zero, zero.astype(np.uint8))
    (person,) = processed(step, frame(lost, at_s=0.02)).persons
    assert (person.root, person.root_status) == (None, "none")


@pytest.mark.parametrize(("id", "state"), [("a", "new"), ("b", "ok")])
def test_a_new_person_does_not_inherit_the_filter_of_another(id: str, state: str):
    step = step_with()
    for tick in range(20):
        processed(step, frame(seen_pose(true_joints(0.0)), at_s=tick / 50))
    joints = true_joints(6.0)
    (person,) = processed(step, frame(seen_pose(joints, id, state=state), at_s=0.4)).persons
    assert person.root == pytest.approx(joints[0], abs=1e-3)


def test_a_predicted_person_has_no_root():
    pose = without(true_joints(), *range(17))
    (person,) = processed(step_with(), frame(replace(pose, state="predicted"))).persons
    assert person.root is None


def test_people_do_not_share_a_filter():
    near, far = true_joints(0.0), true_joints(6.0)
    step = step_with()
    for tick in range(20):
        at_s = tick / 50
        people = processed(step, frame(seen_pose(near), seen_pose(far, "b"), at_s=at_s)).persons
        assert people[0].root == pytest.approx(near[0], abs=1e-3)
        assert people[1].root == pytest.approx(far[0], abs=1e-3)


def test_a_new_person_does_not_reset_the_filters_of_the_others():
    steps = step_with(), step_with()
    for tick in range(10):
        joints = true_joints(tick / 50)
        noisy = seen_pose(joints * (1 + 0.03 * (-1) ** tick))
        alone = processed(steps[0], frame(noisy, at_s=tick / 50)).persons[0]
        newcomer = [seen_pose(true_joints(6.0), "b")] if tick == 7 else []
        beside = processed(steps[1], frame(noisy, *newcomer, at_s=tick / 50)).persons[0]
        assert alone.root.tolist() == beside.root.tolist()


def test_the_distance_is_filtered_along_the_ray():
    random = np.random.default_rng(0)
    step, roots = step_with(), []
    joints = true_joints()
    for tick in range(150):
        pose = seen_pose(joints)
        pose = replace(pose, xyz=pose.xyz * np.float32(random.normal(1, 0.03)))
        roots.append(processed(step, frame(pose, at_s=tick / 30)).persons[0].root)
    depth = np.array(roots)[50:, 2]
    assert depth.std() < 0.4 * 0.03 * joints[0, 2]
    pixels = CAMERA.project(np.array(roots))
    assert np.ptp(pixels, axis=0).max() < 0.05


def test_distortion_is_undone():
    cv2 = pytest.importorskip("cv2")
    distortion = (-0.3, 0.1, 0.001, -0.002, 0.0)
    joints = true_joints()
    matrix = np.array([[1000.0, 0, 640], [0, 1000, 360], [0, 0, 1]])
    pixels, _ = cv2.projectPoints(joints[:, None], np.zeros(3), np.zeros(3), matrix, np.array(distortion))
    pose = seen_pose(joints)
    pose.kp2d[:, :2] = pixels[:, 0]
    settings = Camera.Settings(size_wh=SIZE_WH, fx=1000, fy=1000, cx=640, cy=360, distortion=distortion)
    undistorted = processed(step_with(cameras={"cam0": settings}), frame(pose)).persons[0].root
    distorted = processed(step_with(), frame(pose)).persons[0].root
    assert undistorted == pytest.approx(joints[0], abs=2e-3)
    assert np.linalg.norm(distorted - joints[0]) > 0.03


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fov_deg": 0}, "scene.fov_deg: expected 5 to 170 degrees, got 0"),
        ({"fov_deg": float("nan")}, "scene.fov_deg"),
        ({"height_m": 175}, "scene.height_m: expected 0.4 to 2.6 metres, or null, got 175"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        RootPosition.Settings(**settings)


def test_interpolated_joints_count_if_both_neighbouring_frames_detected_them():
    pose = without(true_joints(), 4, 5, 6)
    pose.origin[:] = JointOrigin.INTERPOLATED
    assert pose.visible.tolist() == [joint not in (4, 5, 6) for joint in range(17)]
    (person,) = processed(step_with(), frame(pose)).persons
    assert person.root == pytest.approx(true_joints()[0], abs=1e-3)


def test_a_batch_gives_the_same_roots_as_each_person_alone():
    """Some people are complete, some partly detected, one hardly, one in a single spot of the image."""
    people = [seen_pose(true_joints(t_s), f"{t_s}") for t_s in (0.0, 1.3, 4.1)]
    people += [without(true_joints(6.0), 3, 6, 10, 13), without(true_joints(6.0), *range(13))]
    people.append(seen_pose(true_joints()))
    people[-1].kp2d[:, :2] = 300.0
    people = [replace(person, id=str(number)) for number, person in enumerate(people)]
    together = processed(step_with(), frame(*people)).persons
    alone = [processed(step_with(), frame(person)).persons[0] for person in people]
    assert [person.root is None for person in together] == [False] * 4 + [True] * 2
    roots = [[person.root for person in people[:4]] for people in (together, alone)]
    np.testing.assert_allclose(*roots, rtol=1e-6)


def test_the_size_of_a_person_is_a_median_over_poses():
    steps, joints = step_with(height_m=1.8), true_joints()
    scales = []
    for tick in range(12):
        pose = seen_pose(joints)
        pose.xyz[:] *= 1.5 if tick == 10 else 1.0  # one pose is lifted much too large
        before = pose.xyz.copy()
        (person,) = processed(steps, frame(pose, at_s=tick / 50)).persons
        scales.append(float(np.linalg.norm(person.xyz[3]) / np.linalg.norm(before[3])))
    assert scales == pytest.approx([scales[0]] * 12, rel=1e-5)


def test_a_pose_that_does_not_fit_its_keypoints_gives_no_root():
    """The distance of this solution is 0.6 m, with a standard deviation of 0.4 m."""
    pose = seen_pose(true_joints())
    pose.kp2d[:, :2] += np.random.default_rng(3).normal(0, 160, (17, 2)).astype(np.float32)
    (person,) = processed(step_with(), frame(pose)).persons
    assert (person.root, person.root_status) == (None, "none")
