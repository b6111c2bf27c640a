"""Check of recorded poses against their skeleton, before a sink relies on it."""

from stream.errors import DecodeError
from stream.messages import PoseFrame
from stream.rig import HUMANOID
from stream.skeletons import SKELETONS


def check_joints(frame: PoseFrame) -> None:
    """Raise DecodeError for a pose with other joints than its skeleton, or other bones than the rig.

    A skeleton of an unknown name may have any joints.
    """
    skeleton = SKELETONS.get(frame.skeleton)
    for person in frame.persons:
        if skeleton is not None and len(person.xyz) != len(skeleton.joints):
            raise DecodeError(
                f"person {person.id!r}: expected {len(skeleton.joints)} joints of {frame.skeleton}, "
                f"got {len(person.xyz)}"
            )
        if person.rotations is not None and len(person.rotations.quat) != len(HUMANOID.bones):
            raise DecodeError(
                f"person {person.id!r}: expected rotations of {len(HUMANOID.bones)} bones, "
                f"got {len(person.rotations.quat)}"
            )
