"""Recipes for the joints of Human3.6M as weighted sums of the joints that detectors give."""

# Recipes for the joints that a detector does not give: weighted sums of other joints (the weights add up
# to 1), best recipe first. A joint that the detector gives under the same name is used unchanged; the
# recipes replace it only where it is missing.
# The weights are least-squares fits to motion capture, in the sagittal plane of a standing person: relative
# to the centre of the shoulders the nose lies 10 cm forward and 13 cm up, the centre of the ears 2 cm
# forward and 15 cm up.
DERIVED_JOINTS: dict[str, tuple[dict[str, float], ...]] = {
    "pelvis": ({"left_hip": 0.5, "right_hip": 0.5},),
    "thorax": ({"left_shoulder": 0.5, "right_shoulder": 0.5}, {"neck": 1.0}),
    "spine": ({"thorax": 0.43, "pelvis": 0.57},),
    # Without a nose the camera is behind the person, where the 5 cm forward do not show.
    "neck_nose": ({"nose": 0.67, "thorax": 0.33}, {"mid_head": 0.65, "thorax": 0.35}),
    "head_top": ({"mid_head": 1.55, "thorax": -0.55},),
    # With one ear hidden the head is turned: the visible ear and the face lie on opposite sides of the
    # centre. With one ear and no face the head is assumed to face forward; the distance between the
    # shoulders is five times the distance from the ear to the centre. Eyes alone mean a front view with
    # hair over the ears.
    "mid_head": (
        {"left_ear": 0.5, "right_ear": 0.5},
        {"left_ear": 0.5, "left_eye": 0.25, "right_eye": 0.25},
        {"right_ear": 0.5, "left_eye": 0.25, "right_eye": 0.25},
        {"left_ear": 1.0, "left_shoulder": -0.2, "right_shoulder": 0.2},
        {"right_ear": 1.0, "left_shoulder": 0.2, "right_shoulder": -0.2},
        {"left_ear": 1.0},
        {"right_ear": 1.0},
        {"left_eye": 0.5, "right_eye": 0.5},
    ),
}

# Joints that a detector puts beside those of motion capture, as weighted sums of the detector's own joints.
# MediaPipe puts hips 35 mm too low on the trunk, 6.5 % of its detected length, in both videos of
# `benchmarks/detector_offsets.py`. A corrected joint keeps its score.
HIP_RISE = 0.06
CORRECTED_JOINTS: dict[str, dict[str, dict[str, float]]] = {
    "blazepose33": {
        f"{side}_hip": {
            f"{side}_hip": 1 - HIP_RISE / 2,
            f"{other}_hip": -HIP_RISE / 2,
            "left_shoulder": HIP_RISE / 2,
            "right_shoulder": HIP_RISE / 2,
        }
        for side, other in (("left", "right"), ("right", "left"))
    }
}
