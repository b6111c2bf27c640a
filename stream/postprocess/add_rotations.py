"""Joint rotations for poses that were published without them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from stream.messages import Meta, PoseFrame
from stream.postprocess.batch import PoseBatch
from stream.postprocess.joint_rotations import RIG_INFO, JointRotations
from stream.rig import SKELETON

_ANY_SIZE = (1, 1)  # rotations do not depend on the size of the images


def with_rotations(messages: Iterable[PoseFrame | Meta]) -> Iterator[PoseFrame | Meta]:
    """The same messages; poses without rotations get them if their joints are those of the rig."""
    step = JointRotations()
    for message in messages:
        if isinstance(message, Meta):
            yield replace(message, rig=RIG_INFO) if message.skeleton == SKELETON else message
            continue
        persons = message.persons
        missing = any(person.rotations is None and person.state != "lost" for person in persons)
        if message.skeleton != SKELETON or not missing:
            yield message
            continue
        batch = PoseBatch.from_poses(SKELETON, message.header, _ANY_SIZE, persons, message.frame_id)
        step.apply(batch)
        turned = [replace(person, rotations=batch.pose(row).rotations) for row, person in enumerate(persons)]
        yield replace(message, persons=tuple(turned))
