"""Skeletons: the joint layouts of common 2D detectors, and their conversion to Human3.6M's 17 joints.

Each layout is written down once, as joint names and parents. All index lists (bones, left and right
joints, the order of a mirrored person) are derived from it here.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from types import MappingProxyType

import numpy as np

from stream.errors import ConfigError, ShapeError
from stream.joint_recipes import CORRECTED_JOINTS, DERIVED_JOINTS
from stream.messages import F32, KeypointFrame, Keypoints, Mask


@dataclass(frozen=True)
class Skeleton:
    """J named joints in a tree.

    joints (J,): names, in the order of all arrays. parents (J,): index of each joint's parent, -1 for the
    root. flip_pairs: (left, right) indices of the joints that have a counterpart on the other side.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    flip_pairs: tuple[tuple[int, int], ...]

    @cached_property
    def index_of(self) -> Mapping[str, int]:
        """Index of each joint by its name."""
        return MappingProxyType({joint: index for index, joint in enumerate(self.joints)})

    @cached_property
    def root(self) -> int:
        """Index of the joint without a parent."""
        return self.parents.index(-1)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(joint, parent) indices of the J - 1 bones, in the order of the joints."""
        return tuple((joint, parent) for joint, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def left_joints(self) -> tuple[int, ...]:
        """Indices of the joints on the left side, in the order of `flip_pairs`."""
        return tuple(left for left, _ in self.flip_pairs)

    @cached_property
    def right_joints(self) -> tuple[int, ...]:
        """Indices of the joints on the right side, each the counterpart of the one in `left_joints`."""
        return tuple(right for _, right in self.flip_pairs)

    @cached_property
    def flip_indices(self) -> tuple[int, ...]:
        """(J,) indices that swap left and right: `xyz[..., list(flip_indices), :]`."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)


def _skeleton(name: str, tree: str) -> Skeleton:
    """The skeleton whose joints are the words `joint<parent` of `tree`, in the detector's order."""
    joints, parent_names = zip(*(word.split("<") for word in tree.split()), strict=True)
    parents = tuple(joints.index(parent) if parent else -1 for parent in parent_names)
    pairs = tuple(
        (index, joints.index(joint.replace("left", "right", 1)))
        for index, joint in enumerate(joints)
        if joint.startswith("left_")
    )
    return Skeleton(name, joints, parents, pairs)


SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (
        # Human3.6M: joint 9 lies in front of the neck, two thirds of the distance up to the tip of the nose.
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


def skeleton_named(name: str) -> Skeleton:
    """The skeleton called `name`; ConfigError with the known names if there is none."""
    if name in SKELETONS:
        return SKELETONS[name]
    close = difflib.get_close_matches(name.lower(), SKELETONS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"skeleton: expected one of {', '.join(SKELETONS)}, got {name!r}{hint}")


def check(frame: KeypointFrame) -> None:
    """Raise ConfigError for an unknown skeleton, ShapeError for a person with another number of joints."""
    skeleton_named(frame.skeleton)
    for person in frame.persons:
        _check_joints(person, frame.skeleton)


def _check_joints(person: Keypoints, skeleton: str) -> None:
    expected = len(skeleton_named(skeleton).joints)
    if len(person.score) != expected:
        raise ShapeError(f"keypoints: expected the {expected} joints of {skeleton}, got {len(person.score)}")


def convert(person: Keypoints, source: str, target: str = "h36m17") -> Keypoints:
    """The keypoints of `person`, in the skeleton `source`, converted to `target`.

    Target joints that cannot be derived are NaN with score 0. A derived joint has the lowest score of the
    joints it is derived from. Joints of `CORRECTED_JOINTS` are moved and keep their scores. Raises
    ConfigError for any `target` but h36m17 (or `source` itself), ShapeError for another number of joints.
    """
    _check_joints(person, source)
    if source == target:
        return person
    if skeleton_named(target).name != "h36m17":
        raise ConfigError(f"skeleton: {source} can be converted to h36m17, not to {target}")
    conversion = _conversion(source)
    if person.complete:
        weights, scored = conversion.first
        return Keypoints(weights @ person.xy, _min_score(person.score, scored), person.id)
    visible = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    usable = ~np.logical_or.reduce(conversion.required & ~visible, axis=2)  # (T, R)
    derivable, recipe = usable.any(axis=1), usable.argmax(axis=1)  # (T,) the first usable recipe
    selected = np.arange(len(recipe)), recipe
    xy = conversion.weights[selected] @ np.where(visible[:, None], person.xy, np.float32(0))
    score = np.where(derivable, _min_score(person.score, conversion.scored[selected]), np.float32(0))
    xy[~derivable] = np.nan
    return Keypoints(xy, score, person.id)


def face_points(person: Keypoints, skeleton: str) -> F32 | None:
    """Middle of the detected left and of the right eye and ear, (2, 2) float32 px, NaN where undetected.

    None for a skeleton without eyes and ears.
    """
    index_of = skeleton_named(skeleton).index_of
    if "left_eye" not in index_of or "left_ear" not in index_of:
        return None
    sides = np.array([[index_of[f"{side}_eye"], index_of[f"{side}_ear"]] for side in ("left", "right")])
    detected = (person.score[sides] > 0)[..., None]
    count = detected.sum(axis=1)
    total = np.where(detected, person.xy[sides], np.float32(0)).sum(axis=1)
    points: F32 = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return points


def _min_score(score: F32, scored: Mask) -> F32:
    """(T,) the lowest of the scores (J,) that each row of `scored` (T, J) selects."""
    lowest: F32 = np.where(scored, score, np.float32(np.inf)).min(axis=1)
    return lowest


@dataclass(frozen=True, slots=True)
class _Conversion:
    """Recipes for the T joints of h36m17 from J source joints, R for each, best first.

    weights (T, R, J) float32: the weighted sums. required (T, R, J): the source joints that must be
    visible. scored (T, R, J): those of them whose lowest score is the target's. first: weights and scored
    (T, J) of the first recipes. The last recipe of a joint is repeated up to R.
    """

    weights: F32
    required: Mask
    scored: Mask
    first: tuple[F32, Mask]


# Weight of each source joint, and the source joints whose scores count.
_Recipe = tuple[dict[int, float], frozenset[int]]


@cache
def _conversion(source: str) -> _Conversion:
    layout = skeleton_named(source)
    recipes = [_recipes(joint, layout) for joint in SKELETONS["h36m17"].joints]
    shape = len(recipes), max(map(len, recipes)), len(layout.joints)
    weights, scored = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    for joint, row in enumerate(recipes):
        for index, (shares, counting) in enumerate(row + row[-1:] * (shape[1] - len(row))):
            weights[joint, index, list(shares)] = list(shares.values())
            scored[joint, index, list(counting)] = True
    required = weights != 0
    scored &= required
    return _Conversion(weights, required, scored, (weights[:, 0].copy(), scored[:, 0].copy()))


def _recipes(name: str, layout: Skeleton) -> list[_Recipe]:
    """All recipes for the joint `name` from the joints of `layout`, best first."""
    index_of, recipes = layout.index_of, list[_Recipe]()
    if name in index_of:
        own = frozenset([index_of[name]])
        corrected = CORRECTED_JOINTS.get(layout.name, {}).get(name)
        if corrected:
            recipes.append(({index_of[joint]: share for joint, share in corrected.items()}, own))
        recipes.append(({index_of[name]: 1.0}, own))
    for derivation in DERIVED_JOINTS.get(name, ()):
        for parts in product(*(_recipes(part, layout) for part in derivation)):
            shares: dict[int, float] = {}
            for share, (weights, _) in zip(derivation.values(), parts, strict=True):
                for index, weight in weights.items():
                    shares[index] = shares.get(index, 0.0) + share * weight
            recipes.append((shares, frozenset().union(*(counting for _, counting in parts))))
    return recipes
