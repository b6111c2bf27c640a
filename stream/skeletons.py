"""Joint layouts of common 2D detectors, and how Human3.6M's 17 joints are made from each.

A layout is written down once, as joints and their parents; left/right pairs follow from the names.
"""

import difflib
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError, ShapeError
from stream.messages import F32, KeypointFrame, Keypoints

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Names of J joints, the index of each one's parent (-1 for the root), left/right pairs."""

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    flip_pairs: tuple[tuple[int, int], ...]


def _skeleton(name: str, tree: str) -> Skeleton:
    """Read `joint<parent` words, in the detector's order."""
    joints, above = zip(*(word.split("<") for word in tree.split()), strict=True)
    parents = tuple(joints.index(parent) if parent else -1 for parent in above)
    pairs = tuple(
        (index, joints.index(joint.replace("left", "right", 1)))
        for index, joint in enumerate(joints)
        if joint.startswith("left_")
    )
    return Skeleton(name, joints, parents, pairs)


SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (
        # Human3.6M: joint 9 lies in front of the neck, two thirds of the way up to the tip of the nose.
        _skeleton(
            "h36m17",
            "pelvis< right_hip<pelvis right_knee<right_hip right_ankle<right_knee"
            " left_hip<pelvis left_knee<left_hip left_ankle<left_knee"
            " spine<pelvis thorax<spine neck_nose<thorax head_top<neck_nose"
            " left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow"
            " right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow",
        ),
        # COCO person keypoints.
        _skeleton(
            "coco17",
            "nose< left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye"
            " left_shoulder<nose right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder"
            " left_wrist<left_elbow right_wrist<right_elbow left_hip<left_shoulder right_hip<right_shoulder"
            " left_knee<left_hip right_knee<right_hip left_ankle<left_knee right_ankle<right_knee",
        ),
        # MediaPipe PoseLandmarker.
        _skeleton(
            "blazepose33",
            "nose< left_eye_inner<nose left_eye<left_eye_inner left_eye_outer<left_eye"
            " right_eye_inner<nose right_eye<right_eye_inner right_eye_outer<right_eye"
            " left_ear<left_eye_outer right_ear<right_eye_outer left_mouth<nose right_mouth<nose"
            " left_shoulder<nose right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder"
            " left_wrist<left_elbow right_wrist<right_elbow left_pinky<left_wrist right_pinky<right_wrist"
            " left_index<left_wrist right_index<right_wrist left_thumb<left_wrist right_thumb<right_wrist"
            " left_hip<left_shoulder right_hip<right_shoulder left_knee<left_hip right_knee<right_hip"
            " left_ankle<left_knee right_ankle<right_knee left_heel<left_ankle right_heel<right_ankle"
            " left_foot_index<left_ankle right_foot_index<right_ankle",
        ),
        # Halpe with 26 body and foot joints (AlphaPose, RTMPose): COCO's, then head top, neck, hip, feet.
        _skeleton(
            "halpe26",
            "nose<neck left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye"
            " left_shoulder<neck right_shoulder<neck left_elbow<left_shoulder right_elbow<right_shoulder"
            " left_wrist<left_elbow right_wrist<right_elbow left_hip<pelvis right_hip<pelvis"
            " left_knee<left_hip right_knee<right_hip left_ankle<left_knee right_ankle<right_knee"
            " head_top<nose neck<pelvis pelvis< left_big_toe<left_ankle right_big_toe<right_ankle"
            " left_small_toe<left_big_toe right_small_toe<right_big_toe"
            " left_heel<left_ankle right_heel<right_ankle",
        ),
        # OpenPose BODY_25.
        _skeleton(
            "body25",
            "nose<neck neck<pelvis right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow"
            " left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow"
            " pelvis< right_hip<pelvis right_knee<right_hip right_ankle<right_knee"
            " left_hip<pelvis left_knee<left_hip left_ankle<left_knee"
            " right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye"
            " left_big_toe<left_ankle left_small_toe<left_big_toe left_heel<left_ankle"
            " right_big_toe<right_ankle right_small_toe<right_big_toe right_heel<right_ankle",
        ),
    )
}

# How a joint is made that a detector does not give: weighted sums (weights add up to 1), the best way
# first. A joint the detector gives under that name is taken as it is and made only where it is missing.
# The weights are least-squares fits to motion capture, in a standing person's sagittal plane: seen from
# between the shoulders the nose lies 10 cm forward and 13 cm up, the middle of the ears 2 and 15 cm.
_MADE: dict[str, tuple[dict[str, float], ...]] = {
    "pelvis": ({"left_hip": 0.5, "right_hip": 0.5},),
    "thorax": ({"left_shoulder": 0.5, "right_shoulder": 0.5}, {"neck": 1.0}),
    "spine": ({"thorax": 0.43, "pelvis": 0.57},),
    # Without a nose the person is seen from behind, where the 5 cm forward do not show.
    "neck_nose": ({"nose": 0.67, "thorax": 0.33}, {"mid_head": 0.65, "thorax": 0.35}),
    "head_top": ({"mid_head": 1.55, "thorax": -0.55},),
    # One ear hidden, the head is turned: the ear that is seen and the face lie on opposite sides of the
    # middle. With a single ear the head is taken to look where the shoulders do, from one of which to
    # the other it is five times as far as from ear to middle. Eyes alone: a front view, under hair.
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


def skeleton_named(name: str) -> Skeleton:
    """The skeleton called `name`."""
    if name in SKELETONS:
        return SKELETONS[name]
    close = difflib.get_close_matches(name.lower(), SKELETONS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"skeleton: expected one of {', '.join(SKELETONS)}, got {name!r}{hint}")


def check(frame: KeypointFrame) -> None:
    """Refuse a frame whose skeleton is unknown or whose persons have another number of joints."""
    skeleton_named(frame.skeleton)
    for person in frame.persons:
        _check(person, frame.skeleton)


def _check(person: Keypoints, source: str) -> None:
    have = len(skeleton_named(source).joints)
    if len(person.score) != have:
        raise ShapeError(f"keypoints: expected the {have} joints of {source}, got {len(person.score)}")


def convert(person: Keypoints, source: str, target: str = "h36m17") -> Keypoints:
    """The same person in `target` order; what cannot be made is NaN with score 0.

    A made joint has the lowest score of what it is made of.
    """
    _check(person, source)
    if source == target:
        return person
    if skeleton_named(target).name != "h36m17":
        raise ConfigError(f"skeleton: {source} can be converted to h36m17, not to {target}")
    plan = _plan(source)
    if person.complete:
        weights, needs = plan.best
        return Keypoints(weights @ person.xy, _least(person.score, needs), person.id)
    seen = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    possible = ~np.logical_or.reduce(plan.needs & ~seen, axis=2)  # (T, W)
    made, way = possible.any(axis=1), possible.argmax(axis=1)  # (T,) the first of the possible
    chosen = np.arange(len(way)), way
    xy = plan.weights[chosen] @ np.where(seen[:, None], person.xy, np.float32(0))
    score = np.where(made, _least(person.score, plan.needs[chosen]), np.float32(0))
    xy[~made] = np.nan
    return Keypoints(xy, score, person.id)


def _least(score: F32, needs: Mask) -> F32:
    """Of score (J,) the lowest that each of needs (T, J) asks for."""
    least: F32 = np.where(needs, score, np.float32(np.inf)).min(axis=1)
    return least


@dataclass(frozen=True, slots=True)
class _Plan:
    """How joints of h36m17 are made from J others, in W ways, the best first.

    weights (T, W, J) float32 of sums; needs (T, W, J): the joints that must be seen for it; best: both of
    the first ways. The last way of a joint is repeated where another has more.
    """

    weights: F32
    needs: Mask
    best: tuple[F32, Mask]


@cache
def _plan(source: str) -> _Plan:
    joints = skeleton_named(source).joints
    ways = [_ways(joint, joints) for joint in SKELETONS["h36m17"].joints]
    most = max(map(len, ways))
    weights = np.zeros((len(ways), most, len(joints)), np.float32)
    for joint, row in enumerate(ways):
        for way, parts in enumerate(row + row[-1:] * (most - len(row))):
            weights[joint, way, list(parts)] = list(parts.values())
    needs = weights != 0
    return _Plan(weights, needs, (weights[:, 0].copy(), needs[:, 0].copy()))


def _ways(name: str, joints: tuple[str, ...]) -> list[dict[int, float]]:
    """All ways to make joint `name`, written out as {index in `joints`: weight}, best first."""
    ways = [{joints.index(name): 1.0}] if name in joints else []
    for recipe in _MADE.get(name, ()):
        for parts in product(*(_ways(part, joints) for part in recipe)):
            way: dict[int, float] = {}
            for share, part in zip(recipe.values(), parts, strict=True):
                for index, weight in part.items():
                    way[index] = way.get(index, 0.0) + share * weight
            ways.append(way)
    return ways
