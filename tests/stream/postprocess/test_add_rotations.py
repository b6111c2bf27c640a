"""Joint rotations for poses that were published without them."""

from dataclasses import replace

import numpy as np

from stream.messages import PoseFrame
from stream.postprocess.add_rotations import with_rotations
from tests.rig_examples import dance, pose_frames


def test_missing_rotations_are_computed_as_a_node_computes_them():
    complete = pose_frames(dance(0.5))
    bare = [
        replace(one, persons=tuple(replace(person, rotations=None) for person in one.persons))
        for one in complete
    ]
    for restored, original in zip(with_rotations(bare), complete, strict=True):
        assert isinstance(restored, PoseFrame)
        assert restored.persons[0].rotations is not None
        assert original.persons[0].rotations is not None
        np.testing.assert_allclose(
            restored.persons[0].rotations.quat, original.persons[0].rotations.quat, atol=1e-6
        )


def test_frames_with_rotations_and_frames_of_lost_people_stay_as_they_are():
    frames = pose_frames(dance(0.2), lost_after=True)
    assert frames[-1].persons[0].state == "lost"
    assert all(restored is frame for restored, frame in zip(with_rotations(frames), frames, strict=True))
