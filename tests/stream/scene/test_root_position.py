from dataclasses import replace

import numpy as np
import pytest

from sources.walking_figure import VirtualCamera as Lens
from sources.walking_figure import Walk, figure
from stream.cameras.intrinsics import CameraSettings, from_calibration, from_fov
from stream.errors import ConfigError
from stream.messages import Header, JointOrigin, Pose, PoseFrame
from stream.scene.root_position import RootPosition, solve_translation
from tests.stream.people import finished, remembered

SIZE_WH = (1280, 720)
LENS = Lens(size_wh=SIZE_WH)  # 1000 px focal length
CALIBRATED = CameraSettings(size_wh=SIZE_WH, fx=1000, fy=1000, cx=640, cy=360)
WALK = Walk(height_m=1.8)


def true_joints(t_s: float = 0.0, walk: Walk = WALK) -> np.ndarray:
    """(17, 3) metres in camera axes."""
    return LENS.view(figure(t_s, walk))


def seen_pose(joints: np.ndarray, id: str = "a", **changes) -> Pose:
    """The pose of someone who is seen without error, true to scale."""
    kp2d = np.concatenate([LENS.project(joints), np.ones((17, 1))], axis=1)
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


def space(**settings) -> RootPosition:
    settings = {"cameras": {"cam0": CALIBRATED}, **settings}
    return RootPosition(RootPosition.Settings(**settings))


def without(joints: np.ndarray, *missing: int) -> Pose:
    """Someone of whom these joints are not seen; where they are thought to be is nonsense."""
    pose = seen_pose(joints)
    pose.kp2d[list(missing)] = (5.0, 5.0, 0.0)
    pose.score[list(missing)] = 0
    pose.origin[list(missing)] = JointOrigin.PREDICTED
    return pose


def test_a_pose_seen_exactly_stands_where_it_is():
    for t_s in (0.0, 1.3, 4.1, 7.7):
        joints = true_joints(t_s)
        (person,) = finished(space(), frame(seen_pose(joints))).persons
        assert person.root == pytest.approx(joints[0], abs=1e-3)
        assert person.root.dtype == np.float32


def test_missing_joints_have_no_say():
    joints = true_joints()
    (person,) = finished(space(), frame(without(joints, 0, 1, 2, 3, 4, 5, 6))).persons
    assert person.root == pytest.approx(joints[0], abs=1e-3)


def test_absent_joints_of_the_pose_have_no_say():
    pose = seen_pose(true_joints())
    pose.xyz[[3, 6]], pose.origin[[3, 6]] = np.nan, JointOrigin.ABSENT
    (person,) = finished(space(), frame(pose)).persons
    assert person.root == pytest.approx(true_joints()[0], abs=1e-3)


def test_too_few_joints_give_no_root():
    pose = without(true_joints(), *range(13))
    (person,) = finished(space(height_m=1.8), frame(pose)).persons
    assert (person.root, person.root_status) == (None, "none")


def test_joints_in_one_spot_give_no_root():
    pose = seen_pose(true_joints())
    pose.kp2d[:, :2] = 300.0
    assert finished(space(), frame(pose)).persons[0].root is None


def test_a_pose_that_is_one_point_gives_no_root():
    pose = seen_pose(true_joints(), xyz=np.zeros((17, 3), np.float32))
    assert finished(space(height_m=1.8), frame(pose)).persons[0].root is None


def test_outliers_hardly_move_the_root():
    joints = true_joints()
    pose = seen_pose(joints)
    pose.kp2d[[3, 13, 16], :2] += [(300, -200), (-250, 250), (200, 300)]
    (person,) = finished(space(), frame(pose)).persons
    assert np.linalg.norm(person.root - joints[0]) < 0.03


def test_the_same_joints_without_robustness_would_have_moved_it():
    joints = true_joints()
    rays = (LENS.project(joints) - (640, 360)) / 1000
    rays[[3, 13, 16]] += [(0.3, -0.2), (-0.25, 0.25), (0.2, 0.3)]
    xyz = joints - joints[0]
    rows = np.zeros((17, 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1
    rows[:, :, 2] = -rays
    plain = np.linalg.lstsq(rows.reshape(-1, 3), (rays * xyz[:, 2:] - xyz[:, :2]).ravel(), rcond=None)[0]
    ((root,), *_) = solve_translation(xyz[None], rays[None], np.ones((1, 17)), np.ones((1, 17), bool))
    assert np.linalg.norm(plain - joints[0]) > 10 * np.linalg.norm(root - joints[0])


def test_a_given_height_scales_pose_and_distance_alike():
    joints = true_joints()
    pose = seen_pose(joints)
    small = replace(pose, xyz=pose.xyz * np.float32(0.8))
    for given in (pose, small):  # the lifter's scale has no say
        (person,) = finished(space(height_m=1.8), frame(given)).persons
        # Nobody is built exactly like the average, by which a height becomes bone lengths.
        assert person.root == pytest.approx(joints[0], rel=0.03, abs=1e-3)
        again = person.root + person.xyz
        assert LENS.project(again) == pytest.approx(pose.kp2d[:, :2], abs=0.05)


def test_without_a_height_the_pose_is_left_as_it_was_lifted():
    pose = seen_pose(true_joints())
    assert finished(space(), frame(pose)).persons[0].xyz.tolist() == pose.xyz.tolist()


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"height_m": 1.8}, "metric"),
        ({"height_m": 1.8, "cameras": {}}, "height"),
        ({"height_m": 1.8, "cameras": {"cam1": CALIBRATED}}, "height"),
        ({}, "none"),
        ({"cameras": {}}, "none"),
    ],
)
def test_the_status_says_what_the_scale_rests_on(settings: dict, status: str):
    (person,) = finished(space(**settings), frame(seen_pose(true_joints()))).persons
    assert person.root is not None
    assert person.root_status == status


def test_a_lost_person_has_no_root_and_is_forgotten():
    step = space(height_m=1.8)
    finished(step, frame(seen_pose(true_joints())))
    nothing = np.full((17, 3), np.nan, np.float32)
    zero = np.zeros(17, np.float32)
    lost = Pose("a", "lost", nothing, zero, zero.astype(np.uint8))
    (person,) = finished(step, frame(lost, at_s=0.02)).persons
    assert (person.root, person.root_status) == (None, "none")
    assert remembered(step) == []


def test_an_id_that_is_given_to_somebody_new_brings_no_history():
    step = space()
    for tick in range(20):
        finished(step, frame(seen_pose(true_joints(0.0)), at_s=tick / 50))
    elsewhere = true_joints(6.0)
    (person,) = finished(step, frame(seen_pose(elsewhere, state="new"), at_s=0.4)).persons
    assert person.root == pytest.approx(elsewhere[0], abs=1e-3)


def test_somebody_who_is_only_predicted_has_no_root():
    pose = without(true_joints(), *range(17))
    (person,) = finished(space(), frame(replace(pose, state="predicted"))).persons
    assert person.root is None


def test_people_do_not_share_a_filter():
    near, far = true_joints(0.0), true_joints(6.0)
    step = space()
    for tick in range(20):
        at_s = tick / 50
        people = finished(step, frame(seen_pose(near), seen_pose(far, "b"), at_s=at_s)).persons
        assert people[0].root == pytest.approx(near[0], abs=1e-3)
        assert people[1].root == pytest.approx(far[0], abs=1e-3)


def test_a_newcomer_does_not_reset_the_others():
    steps = space(), space()
    for tick in range(10):
        joints = true_joints(tick / 50)
        noisy = seen_pose(joints * (1 + 0.03 * (-1) ** tick))
        alone = finished(steps[0], frame(noisy, at_s=tick / 50)).persons[0]
        newcomer = [seen_pose(true_joints(6.0), "b")] if tick == 7 else []
        beside = finished(steps[1], frame(noisy, *newcomer, at_s=tick / 50)).persons[0]
        assert alone.root.tolist() == beside.root.tolist()


def test_the_distance_is_steadied_along_the_ray():
    random = np.random.default_rng(0)
    step, roots = space(), []
    joints = true_joints()
    for tick in range(150):
        pose = seen_pose(joints)
        pose = replace(pose, xyz=pose.xyz * np.float32(random.normal(1, 0.03)))
        roots.append(finished(step, frame(pose, at_s=tick / 30)).persons[0].root)
    depth = np.array(roots)[50:, 2]
    assert depth.std() < 0.4 * 0.03 * joints[0, 2]
    pixels = LENS.project(np.array(roots))
    assert np.ptp(pixels, axis=0).max() < 0.05


def test_distortion_is_undone():
    cv2 = pytest.importorskip("cv2")
    bent = (-0.3, 0.1, 0.001, -0.002, 0.0)
    joints = true_joints()
    matrix = np.array([[1000.0, 0, 640], [0, 1000, 360], [0, 0, 1]])
    pixels, _ = cv2.projectPoints(joints[:, None], np.zeros(3), np.zeros(3), matrix, np.array(bent))
    pose = seen_pose(joints)
    pose.kp2d[:, :2] = pixels[:, 0]
    settings = CameraSettings(size_wh=SIZE_WH, fx=1000, fy=1000, cx=640, cy=360, distortion=bent)
    right = finished(space(cameras={"cam0": settings}), frame(pose)).persons[0].root
    wrong = finished(space(), frame(pose)).persons[0].root
    assert right == pytest.approx(joints[0], abs=2e-3)
    assert np.linalg.norm(wrong - joints[0]) > 0.03


def test_the_field_of_view_is_of_the_longer_side():
    assert from_fov(90, (1280, 720)).focal == pytest.approx((640, 640))
    assert from_fov(90, (720, 1280)).focal == pytest.approx((640, 640))


def test_intrinsics_follow_the_size_of_the_image():
    half = from_calibration(CALIBRATED, (640, 360))
    corner = np.array([[-0.5, -0.5], [319.75, 179.75]], np.float32)
    twice = corner * 2 + 0.5
    assert half.rays(corner) == pytest.approx(from_calibration(CALIBRATED, SIZE_WH).rays(twice))
    assert half.focal == (500, 500)


def test_an_image_cut_differently_is_refused():
    with pytest.raises(ConfigError, match=r"sides' ratio of 1280x720.*got 640x480"):
        from_calibration(CALIBRATED, (640, 480))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fov_deg": 0}, "scene.fov_deg: expected 5 to 170 degrees, got 0"),
        ({"fov_deg": float("nan")}, "scene.fov_deg"),
        ({"height_m": 175}, "scene.height_m: expected 0.4 to 2.6 metres, or null, got 175"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, says: str):
    with pytest.raises(ConfigError, match=says):
        RootPosition.Settings(**settings)


@pytest.mark.parametrize(("name", "value"), [("fx", 0), ("size_wh", (0, 720)), ("distortion", (0.1,) * 3)])
def test_intrinsics_that_cannot_be_are_refused(name: str, value: object):
    good = {"size_wh": SIZE_WH, "fx": 1000, "fy": 1000, "cx": 640, "cy": 360}
    with pytest.raises(ConfigError, match=name):
        CameraSettings(**(good | {name: value}))


def test_on_a_grid_people_stand_where_the_frames_before_and_after_saw_them():
    """Between two frames nothing is observed, but what both saw is seen; what was filled in is not."""
    pose = without(true_joints(), 4, 5, 6)
    pose.origin[:] = JointOrigin.INTERPOLATED
    assert pose.visible.tolist() == [joint not in (4, 5, 6) for joint in range(17)]
    (person,) = finished(space(), frame(pose)).persons
    assert person.root == pytest.approx(true_joints()[0], abs=1e-3)


def test_people_of_a_batch_stand_where_each_would_alone():
    """Some are seen whole, some in part, some hardly, some in one spot."""
    people = [seen_pose(true_joints(t_s), f"{t_s}") for t_s in (0.0, 1.3, 4.1)]
    people += [without(true_joints(6.0), 3, 6, 10, 13), without(true_joints(6.0), *range(13))]
    people.append(seen_pose(true_joints()))
    people[-1].kp2d[:, :2] = 300.0
    people = [replace(person, id=str(number)) for number, person in enumerate(people)]
    together = finished(space(), frame(*people)).persons
    alone = [finished(space(), frame(person)).persons[0] for person in people]
    assert [person.root is None for person in together] == [False] * 4 + [True] * 2
    for here, there in zip(together[:4], alone[:4], strict=True):
        np.testing.assert_allclose(here.root, there.root, rtol=1e-6)
