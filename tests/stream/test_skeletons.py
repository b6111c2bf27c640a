import numpy as np
import pytest

from stream.errors import ConfigError, ShapeError
from stream.messages import Header, KeypointFrame, Keypoints
from stream.skeletons import SKELETONS, check, convert, skeleton_named

DETECTORS = ("coco17", "blazepose33", "halpe26", "body25")
H36M = SKELETONS["h36m17"].joints
MEDIAPIPE_HIP_DROP = 0.06 / 0.94  # in trunk lengths, so that the hips are 6 % of the detected trunk too low
PX_PER_CM = 2.5  # at a distance of 4 m, with a focal length of 1000 px

# A person of 1.75 m with the arms stretched out, facing +y, so that left is at negative x; z is up, metres.
# Left half and middle; measured on people and motion capture, independent of the converter.
T_POSE = {
    "nose": (0, 0.115, 1.58),
    "mouth": (-0.025, 0.095, 1.54),
    "eye_inner": (-0.018, 0.090, 1.615),
    "eye": (-0.032, 0.085, 1.615),
    "eye_outer": (-0.045, 0.080, 1.615),
    "ear": (-0.075, 0.02, 1.60),
    "neck": (0, 0, 1.46),
    "head_top": (0, 0.02, 1.69),
    "neck_nose": (0, 0.075, 1.535),
    "thorax": (0, 0, 1.45),
    "spine": (0, -0.02, 1.15),
    "pelvis": (0, 0, 0.93),
    "shoulder": (-0.18, 0, 1.45),
    "elbow": (-0.46, 0, 1.45),
    "wrist": (-0.72, 0, 1.45),
    "pinky": (-0.80, -0.03, 1.45),
    "index": (-0.80, 0.03, 1.45),
    "thumb": (-0.76, 0.05, 1.45),
    "hip": (-0.10, 0, 0.93),
    "knee": (-0.10, 0.01, 0.50),
    "ankle": (-0.10, 0, 0.09),
    "heel": (-0.10, -0.05, 0.03),
    "foot_index": (-0.10, 0.17, 0.02),
    "big_toe": (-0.08, 0.18, 0.02),
    "small_toe": (-0.14, 0.15, 0.02),
}


def position(joint: str, body: dict[str, tuple[float, float, float]]) -> tuple[float, float, float]:
    side, _, part = joint.partition("_")
    if side not in ("left", "right"):
        return body[joint]
    x, y, z = body[part]
    return (x, y, z) if side == "left" else (-x, y, z)


def projected(skeleton: str, turned_deg: float = 0.0, body=T_POSE) -> Keypoints:
    """The body turned to its left, in a 1280 x 720 image of a camera 4 m in front at hip height."""
    x, y, z = np.array([position(joint, body) for joint in skeleton_named(skeleton).joints]).T
    turn = np.radians(turned_deg)
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    # The camera faces the person, whose left is on the right of the image.
    xy = np.stack([640 - 1000 * x / (4 - y), 360 - 1000 * (z - 0.93) / (4 - y)], axis=1)
    if skeleton == "blazepose33":
        lower_hips(xy)
    return Keypoints(xy.astype(np.float32), np.full(len(xy), 0.9, np.float32), "a3f9k")


def without(person: Keypoints, skeleton: str, *joints: str) -> Keypoints:
    xy, score = person.xy.copy(), person.score.copy()
    for joint in joints:
        index = skeleton_named(skeleton).joints.index(joint)
        xy[index], score[index] = np.nan, 0
    return Keypoints(xy, score, person.id)


def joint_xy(person: Keypoints, name: str) -> np.ndarray:
    return person.xy[H36M.index(name)]


def missing_joints(person: Keypoints) -> set[str]:
    assert (np.isnan(person.xy).all(axis=1) == (person.score == 0)).all()
    return {name for name, score in zip(H36M, person.score, strict=True) if score == 0}


def errors_cm(converted: Keypoints, expected: Keypoints) -> dict[str, float]:
    distances_cm = np.linalg.norm(converted.xy - expected.xy, axis=1) / PX_PER_CM
    return dict(zip(H36M, distances_cm, strict=True))


# Tables


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_the_parents_of_every_skeleton_form_one_tree(skeleton):
    assert len(set(skeleton.joints)) == len(skeleton.joints) == len(skeleton.parents)
    assert skeleton.parents.count(-1) == 1
    for joint in range(len(skeleton.joints)):
        steps = 0
        while skeleton.parents[joint] != -1:
            joint, steps = skeleton.parents[joint], steps + 1
            assert steps < len(skeleton.joints)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_left_and_right_of_every_skeleton_are_mirror_images(skeleton):
    swap = skeleton.flip_indices
    for index, name in enumerate(skeleton.joints):
        side, _, part = name.partition("_")
        other = {"left": f"right_{part}", "right": f"left_{part}"}.get(side, name)
        assert skeleton.joints[swap[index]] == other
        parent = skeleton.parents[index]
        assert skeleton.parents[swap[index]] == (-1 if parent == -1 else swap[parent])


def test_human36m_is_the_order_and_tree_that_lifters_are_trained_on():
    skeleton = skeleton_named("h36m17")
    assert skeleton.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert skeleton.joints[1:7] == (
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    )  # fmt: skip
    assert (skeleton.joints[11], skeleton.joints[14]) == ("left_shoulder", "right_shoulder")


@pytest.mark.parametrize(
    ("skeleton", "names"),
    [
        ("coco17", {0: "nose", 1: "left_eye", 4: "right_ear", 5: "left_shoulder", 10: "right_wrist",
                    11: "left_hip", 16: "right_ankle"}),
        ("blazepose33", {0: "nose", 2: "left_eye", 5: "right_eye", 7: "left_ear", 10: "right_mouth",
                         11: "left_shoulder", 16: "right_wrist", 20: "right_index", 23: "left_hip",
                         28: "right_ankle", 31: "left_foot_index"}),
        ("halpe26", {0: "nose", 16: "right_ankle", 17: "head_top", 18: "neck", 19: "pelvis",
                     20: "left_big_toe", 23: "right_small_toe", 25: "right_heel"}),
        ("body25", {0: "nose", 1: "neck", 2: "right_shoulder", 7: "left_wrist", 8: "pelvis", 9: "right_hip",
                    14: "left_ankle", 15: "right_eye", 18: "left_ear", 19: "left_big_toe", 24: "right_heel"}),
    ],
)  # fmt: skip
def test_indices_are_those_of_the_detectors(skeleton, names):
    assert {index: skeleton_named(skeleton).joints[index] for index in names} == names


def lower_hips(xy: np.ndarray) -> None:
    """Move the hips of blazepose33 keypoints (33, 2) px to where MediaPipe puts them."""
    rows = [
        [SKELETONS["blazepose33"].index_of[f"{side}_{part}"] for side in ("left", "right")]
        for part in ("shoulder", "hip")
    ]
    shoulders, hips = (xy[row].mean(axis=0) for row in rows)
    xy[rows[1]] += MEDIAPIPE_HIP_DROP * (hips - shoulders)


# Index lists


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_every_joint_but_the_root_has_a_bone_to_its_parent(skeleton):
    children = [joint for joint, _ in skeleton.bones]
    assert children == [joint for joint in range(len(skeleton.joints)) if joint != skeleton.root]
    assert all(skeleton.parents[joint] == parent for joint, parent in skeleton.bones)


def test_the_index_lists_of_human36m():
    skeleton = skeleton_named("h36m17")
    assert skeleton.root == 0
    assert skeleton.bones[:4] == ((1, 0), (2, 1), (3, 2), (4, 0))
    assert skeleton.left_joints == (4, 5, 6, 11, 12, 13)
    assert skeleton.right_joints == (1, 2, 3, 14, 15, 16)
    assert skeleton.flip_indices == (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)
    assert (skeleton.index_of["left_wrist"], skeleton.index_of["head_top"]) == (13, 10)


# Conversion


@pytest.mark.parametrize("turned_deg", range(0, 360, 15))
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_t_pose_is_converted_correctly_from_every_side(detector, turned_deg):
    error_cm = errors_cm(convert(projected(detector, turned_deg), detector), projected("h36m17", turned_deg))
    limbs = [name for name in H36M if name.startswith(("left", "right"))]
    assert max(error_cm[name] for name in limbs) < 0.01
    assert max(error_cm["pelvis"], error_cm["thorax"]) < 1
    assert max(error_cm["neck_nose"], error_cm["spine"], error_cm["head_top"]) < 3.5


@pytest.mark.parametrize("turned_deg", range(0, 360, 15))
def test_the_head_stays_in_place_when_its_far_side_is_hidden(turned_deg):
    turn = np.radians(turned_deg)
    towards_camera = {  # cosines, plus an allowance for joints that stick out
        "left_ear": 0.6 - np.sin(turn), "right_ear": 0.6 + np.sin(turn), "nose": 0.3 + np.cos(turn),
        "left_eye": np.cos(turn + 0.6), "right_eye": np.cos(turn - 0.6),
    }  # fmt: skip
    hidden = [joint for joint, facing in towards_camera.items() if facing < 0]
    converted = convert(without(projected("coco17", turned_deg), "coco17", *hidden), "coco17")
    error_cm = errors_cm(converted, projected("h36m17", turned_deg))
    assert max(error_cm["head_top"], error_cm["neck_nose"]) < 6


def test_without_ears_the_eyes_give_the_position_of_the_head():
    converted = convert(without(projected("coco17"), "coco17", "left_ear", "right_ear"), "coco17")
    assert errors_cm(converted, projected("h36m17"))["head_top"] < 4


def test_a_joint_that_the_detector_gives_is_used_unchanged():
    person = projected("halpe26", 30)
    converted = joint_xy(convert(person, "halpe26"), "head_top")
    np.testing.assert_array_equal(converted, person.xy[skeleton_named("halpe26").joints.index("head_top")])


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_mirrored_image_gives_the_mirrored_person(detector):
    def mirrored(person: Keypoints, skeleton: str) -> Keypoints:
        order = list(skeleton_named(skeleton).flip_indices)
        return Keypoints(person.xy[order] * np.float32([-1, 1]) + np.float32([1280, 0]), person.score[order])

    person = without(projected(detector, 40), detector, "left_ear", "right_wrist")
    straight = mirrored(convert(person, detector), "h36m17")
    crossed = convert(mirrored(person, detector), detector)
    np.testing.assert_allclose(crossed.xy, straight.xy, atol=1e-3)
    np.testing.assert_array_equal(crossed.score, straight.score)


def test_left_stays_left():
    converted = convert(projected("coco17"), "coco17")
    # In a front view the person's left is on the right of the image.
    assert joint_xy(converted, "left_wrist")[0] > 640 > joint_xy(converted, "right_wrist")[0]


def test_a_person_sitting_sideways_has_the_knees_in_front_at_hip_height():
    sitting = T_POSE | {
        "hip": (-0.1, 0, 0.50), "pelvis": (0, 0, 0.50), "knee": (-0.1, 0.42, 0.50),
        "ankle": (-0.1, 0.42, 0.09),
        "shoulder": (-0.18, 0, 1.02), "thorax": (0, 0, 1.02), "spine": (0, -0.02, 0.73),
        "elbow": (-0.18, 0.05, 0.74), "wrist": (-0.18, 0.28, 0.72),
        "nose": (0, 0.115, 1.15), "ear": (-0.075, 0.02, 1.17), "eye": (-0.032, 0.085, 1.185),
        "neck_nose": (0, 0.075, 1.105), "head_top": (0, 0.02, 1.26),
    }  # fmt: skip
    # A person turned to their left faces the right of the image; the left side is hidden.
    person = without(projected("coco17", 90, sitting), "coco17", "left_ear", "left_eye")
    converted = convert(person, "coco17")
    assert max(errors_cm(converted, projected("h36m17", 90, sitting)).values()) < 9
    assert joint_xy(converted, "right_knee")[0] > joint_xy(converted, "right_hip")[0] + 90
    assert abs(joint_xy(converted, "right_knee")[1] - joint_xy(converted, "right_hip")[1]) < 10
    assert joint_xy(converted, "neck_nose")[0] > joint_xy(converted, "thorax")[0] + 10


# Missing joints


@pytest.mark.parametrize(
    ("detector", "hidden", "missing"),
    [
        ("coco17", ["left_wrist"], {"left_wrist"}),
        ("coco17", ["left_hip"], {"left_hip", "pelvis", "spine"}),
        ("body25", ["left_hip"], {"left_hip"}),  # the detector gives the pelvis itself
        ("body25", ["pelvis"], set()),
        ("body25", ["pelvis", "right_hip"], {"right_hip", "pelvis", "spine"}),
        ("coco17", ["left_shoulder"], {"left_shoulder", "thorax", "spine", "neck_nose", "head_top"}),
        ("body25", ["left_shoulder"], {"left_shoulder"}),  # the detector gives the neck itself
        ("coco17", ["left_ear", "right_ear", "left_eye"], {"head_top"}),
        ("coco17", ["nose"], set()),
        ("coco17", ["nose", "left_ear", "right_ear", "left_eye", "right_eye"], {"neck_nose", "head_top"}),
        ("halpe26", ["nose", "left_ear", "right_ear", "left_eye", "right_eye"], {"neck_nose"}),
        ("halpe26", ["head_top"], set()),
    ],
)
def test_only_joints_that_cannot_be_derived_are_missing(detector, hidden, missing):
    assert missing_joints(convert(without(projected(detector), detector, *hidden), detector)) == missing


def test_a_person_without_any_joint_stays_empty():
    empty = without(projected("body25"), "body25", *skeleton_named("body25").joints)
    assert missing_joints(convert(empty, "body25")) == set(H36M)


def test_a_joint_at_0_with_score_0_is_missing():
    person = projected("coco17")
    xy, score = person.xy.copy(), person.score.copy()
    xy[5], score[5] = 0, 0  # the left shoulder, as some detectors write a missing joint
    assert {"left_shoulder", "thorax"} <= missing_joints(convert(Keypoints(xy, score), "coco17"))


def test_a_derived_joint_has_the_lowest_score_of_its_parts():
    person = projected("coco17")
    score = np.full(17, 0.9, np.float32)
    score[[6, 11, 3]] = 0.3, 0.5, 0.4  # right shoulder, left hip, left ear
    converted = dict(zip(H36M, convert(Keypoints(person.xy, score), "coco17").score.tolist(), strict=True))
    low = {name: round(value, 3) for name, value in converted.items() if value < 0.89}
    assert low == {
        "pelvis": 0.5, "left_hip": 0.5, "spine": 0.3, "thorax": 0.3, "neck_nose": 0.3, "head_top": 0.3,
        "right_shoulder": 0.3,
    }  # fmt: skip


def test_the_corrected_hips_of_mediapipe_keep_their_scores_and_need_the_shoulders():
    person = projected("blazepose33", 30)
    score, index_of = np.full(33, 0.9, np.float32), skeleton_named("blazepose33").index_of
    score[[index_of["left_hip"], index_of["left_shoulder"]]] = 0.6, 0.3
    converted = convert(Keypoints(person.xy, score), "blazepose33").score
    scores = {
        name: round(float(converted[H36M.index(name)]), 3) for name in ("left_hip", "right_hip", "pelvis")
    }
    assert scores == {"left_hip": 0.6, "right_hip": 0.9, "pelvis": 0.6}
    bare = convert(without(person, "blazepose33", "left_shoulder"), "blazepose33")
    np.testing.assert_array_equal(joint_xy(bare, "left_hip"), person.xy[index_of["left_hip"]])


# Errors


def test_a_person_in_the_target_skeleton_is_returned_unchanged():
    person = projected("h36m17")
    assert convert(person, "h36m17") is person


def test_the_id_of_a_person_is_kept():
    assert convert(projected("coco17"), "coco17").id == "a3f9k"


def test_an_unknown_skeleton_is_refused_with_the_known_names():
    with pytest.raises(ConfigError, match=r"h36m17, coco17, .*body25, got 'coco18'; did you mean 'coco17'\?"):
        skeleton_named("coco18")


def test_h36m17_is_the_only_target():
    with pytest.raises(ConfigError, match="coco17 can be converted to h36m17, not to body25"):
        convert(projected("coco17"), "coco17", "body25")


def test_a_person_with_another_number_of_joints_is_refused():
    with pytest.raises(ShapeError, match="expected the 17 joints of coco17, got 25"):
        convert(projected("body25"), "coco17")
    frame = KeypointFrame(Header("cam0", 0, 0, 0), (1280, 720), "coco17", (projected("body25"),), 0)
    with pytest.raises(ShapeError, match="expected the 17 joints of coco17, got 25"):
        check(frame)
