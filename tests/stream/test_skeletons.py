import numpy as np
import pytest

from stream.errors import ConfigError, ShapeError
from stream.messages import Header, KeypointFrame, Keypoints
from stream.skeletons import SKELETONS, check, convert, skeleton_named

DETECTORS = ("coco17", "blazepose33", "halpe26", "body25")
H36M = SKELETONS["h36m17"].joints
PX_PER_CM = 2.5  # of somebody 4 m away, at a focal length of 1000 px

# A person of 1.75 m with the arms stretched out, facing +y, so that left is at negative x; z is up, metres.
# Left half and middle; measured on people and motion capture, not taken from the converter.
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


def place(joint: str, body: dict[str, tuple[float, float, float]]) -> tuple[float, float, float]:
    side, _, part = joint.partition("_")
    if side not in ("left", "right"):
        return body[joint]
    x, y, z = body[part]
    return (x, y, z) if side == "left" else (-x, y, z)


def seen(skeleton: str, turned_deg: float = 0.0, body=T_POSE) -> Keypoints:
    """The body turned to its left, seen from 4 m in front at hip height, 1280 x 720."""
    x, y, z = np.array([place(joint, body) for joint in skeleton_named(skeleton).joints]).T
    turn = np.radians(turned_deg)
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    # The camera faces the person: their left is on its right.
    xy = np.stack([640 - 1000 * x / (4 - y), 360 - 1000 * (z - 0.93) / (4 - y)], axis=1)
    return Keypoints(xy.astype(np.float32), np.full(len(xy), 0.9, np.float32), "a3f9k")


def without(person: Keypoints, skeleton: str, *joints: str) -> Keypoints:
    xy, score = person.xy.copy(), person.score.copy()
    for joint in joints:
        index = skeleton_named(skeleton).joints.index(joint)
        xy[index], score[index] = np.nan, 0
    return Keypoints(xy, score, person.id)


def joint_of(person: Keypoints, name: str) -> np.ndarray:
    return person.xy[H36M.index(name)]


def absent(person: Keypoints) -> set[str]:
    assert (np.isnan(person.xy).all(axis=1) == (person.score == 0)).all()
    return {name for name, score in zip(H36M, person.score, strict=True) if score == 0}


def cm_off(made: Keypoints, true: Keypoints) -> dict[str, float]:
    off = np.linalg.norm(made.xy - true.xy, axis=1) / PX_PER_CM
    return dict(zip(H36M, off, strict=True))


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
    swap = list(range(len(skeleton.joints)))
    for left, right in skeleton.flip_pairs:
        swap[left], swap[right] = right, left
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
    ("skeleton", "at"),
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
def test_indices_are_those_of_the_detectors(skeleton, at):
    assert {index: skeleton_named(skeleton).joints[index] for index in at} == at


# Conversion


@pytest.mark.parametrize("turned_deg", range(0, 360, 15))
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_t_pose_keeps_its_joints_from_every_side(detector, turned_deg):
    off = cm_off(convert(seen(detector, turned_deg), detector), seen("h36m17", turned_deg))
    limbs = [name for name in H36M if name.startswith(("left", "right"))]
    assert max(off[name] for name in limbs) < 0.01
    assert max(off["pelvis"], off["thorax"]) < 1
    assert max(off["neck_nose"], off["spine"], off["head_top"]) < 3.5


@pytest.mark.parametrize("turned_deg", range(0, 360, 15))
def test_the_head_stays_in_place_when_it_hides_its_own_far_side(turned_deg):
    turn = np.radians(turned_deg)
    towards_camera = {  # cosines, with something added for what sticks out
        "left_ear": 0.6 - np.sin(turn), "right_ear": 0.6 + np.sin(turn), "nose": 0.3 + np.cos(turn),
        "left_eye": np.cos(turn + 0.6), "right_eye": np.cos(turn - 0.6),
    }  # fmt: skip
    hidden = [joint for joint, facing in towards_camera.items() if facing < 0]
    made = convert(without(seen("coco17", turned_deg), "coco17", *hidden), "coco17")
    off = cm_off(made, seen("h36m17", turned_deg))
    assert max(off["head_top"], off["neck_nose"]) < 6


def test_hair_over_both_ears_leaves_the_eyes_to_say_where_the_head_is():
    made = convert(without(seen("coco17"), "coco17", "left_ear", "right_ear"), "coco17")
    assert cm_off(made, seen("h36m17"))["head_top"] < 4


def test_a_head_top_that_the_detector_gives_is_taken_as_it_is():
    person = seen("halpe26", 30)
    made = joint_of(convert(person, "halpe26"), "head_top")
    np.testing.assert_array_equal(made, person.xy[skeleton_named("halpe26").joints.index("head_top")])


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_mirrored_image_gives_the_mirrored_person(detector):
    def mirrored(person: Keypoints, skeleton: str) -> Keypoints:
        order = np.arange(len(person.score))
        for left, right in skeleton_named(skeleton).flip_pairs:
            order[[left, right]] = right, left
        return Keypoints(person.xy[order] * np.float32([-1, 1]) + np.float32([1280, 0]), person.score[order])

    person = without(seen(detector, 40), detector, "left_ear", "right_wrist")
    straight = mirrored(convert(person, detector), "h36m17")
    crossed = convert(mirrored(person, detector), detector)
    np.testing.assert_allclose(crossed.xy, straight.xy, atol=1e-3)
    np.testing.assert_array_equal(crossed.score, straight.score)


def test_left_stays_left():
    made = convert(seen("coco17"), "coco17")
    # Seen from the front a person's left is on the right of the image.
    assert joint_of(made, "left_wrist")[0] > 640 > joint_of(made, "right_wrist")[0]


def test_somebody_sitting_sideways_has_the_knees_in_front_at_the_height_of_the_hips():
    sitting = T_POSE | {
        "hip": (-0.1, 0, 0.50), "pelvis": (0, 0, 0.50), "knee": (-0.1, 0.42, 0.50),
        "ankle": (-0.1, 0.42, 0.09),
        "shoulder": (-0.18, 0, 1.02), "thorax": (0, 0, 1.02), "spine": (0, -0.02, 0.73),
        "elbow": (-0.18, 0.05, 0.74), "wrist": (-0.18, 0.28, 0.72),
        "nose": (0, 0.115, 1.15), "ear": (-0.075, 0.02, 1.17), "eye": (-0.032, 0.085, 1.185),
        "neck_nose": (0, 0.075, 1.105), "head_top": (0, 0.02, 1.26),
    }  # fmt: skip
    # Turned to their left they face the right of the image, and the left side is hidden.
    person = without(seen("coco17", 90, sitting), "coco17", "left_ear", "left_eye")
    made = convert(person, "coco17")
    assert max(cm_off(made, seen("h36m17", 90, sitting)).values()) < 9
    assert joint_of(made, "right_knee")[0] > joint_of(made, "right_hip")[0] + 90
    assert abs(joint_of(made, "right_knee")[1] - joint_of(made, "right_hip")[1]) < 10
    assert joint_of(made, "neck_nose")[0] > joint_of(made, "thorax")[0] + 10


# What is missing


@pytest.mark.parametrize(
    ("detector", "hidden", "gone"),
    [
        ("coco17", ["left_wrist"], {"left_wrist"}),
        ("coco17", ["left_hip"], {"left_hip", "pelvis", "spine"}),
        ("body25", ["left_hip"], {"left_hip"}),  # it gives the middle of the hips itself
        ("body25", ["pelvis"], set()),
        ("body25", ["pelvis", "right_hip"], {"right_hip", "pelvis", "spine"}),
        ("coco17", ["left_shoulder"], {"left_shoulder", "thorax", "spine", "neck_nose", "head_top"}),
        ("body25", ["left_shoulder"], {"left_shoulder"}),  # it gives the neck itself
        ("coco17", ["left_ear", "right_ear", "left_eye"], {"head_top"}),
        ("coco17", ["nose"], set()),
        ("coco17", ["nose", "left_ear", "right_ear", "left_eye", "right_eye"], {"neck_nose", "head_top"}),
        ("halpe26", ["nose", "left_ear", "right_ear", "left_eye", "right_eye"], {"neck_nose"}),
        ("halpe26", ["head_top"], set()),
    ],
)
def test_what_cannot_be_made_is_missing_and_nothing_else(detector, hidden, gone):
    assert absent(convert(without(seen(detector), detector, *hidden), detector)) == gone


def test_nothing_seen_is_nothing_made():
    nobody = without(seen("body25"), "body25", *skeleton_named("body25").joints)
    assert absent(convert(nobody, "body25")) == set(H36M)


def test_a_zero_with_score_zero_is_not_a_place():
    person = seen("coco17")
    xy, score = person.xy.copy(), person.score.copy()
    xy[5], score[5] = 0, 0  # the left shoulder, as detectors without a word for "missing" write it
    assert {"left_shoulder", "thorax"} <= absent(convert(Keypoints(xy, score), "coco17"))


def test_a_made_joint_is_as_sure_as_the_least_sure_it_is_made_of():
    person = seen("coco17")
    score = np.full(17, 0.9, np.float32)
    score[[6, 11, 3]] = 0.3, 0.5, 0.4  # right shoulder, left hip, left ear
    made = dict(zip(H36M, convert(Keypoints(person.xy, score), "coco17").score.tolist(), strict=True))
    low = {name: round(value, 3) for name, value in made.items() if value < 0.89}
    assert low == {
        "pelvis": 0.5, "left_hip": 0.5, "spine": 0.3, "thorax": 0.3, "neck_nose": 0.3, "head_top": 0.3,
        "right_shoulder": 0.3,
    }  # fmt: skip


# Refusals


def test_a_person_in_the_asked_order_is_left_alone():
    person = seen("h36m17")
    assert convert(person, "h36m17") is person


def test_the_id_of_a_person_is_kept():
    assert convert(seen("coco17"), "coco17").id == "a3f9k"


def test_an_unknown_layout_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"h36m17, coco17, .*body25, got 'coco18'; did you mean 'coco17'\?"):
        skeleton_named("coco18")


def test_only_human36m_can_be_made():
    with pytest.raises(ConfigError, match="coco17 can be converted to h36m17, not to body25"):
        convert(seen("coco17"), "coco17", "body25")


def test_a_person_with_another_number_of_joints_is_refused():
    with pytest.raises(ShapeError, match="expected the 17 joints of coco17, got 25"):
        convert(seen("body25"), "coco17")
    frame = KeypointFrame(Header("cam0", 0, 0, 0), (1280, 720), "coco17", (seen("body25"),), 0)
    with pytest.raises(ShapeError, match="expected the 17 joints of coco17, got 25"):
        check(frame)
