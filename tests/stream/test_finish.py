from dataclasses import dataclass, field, replace

from stream.finish import Finish, WithoutKeypoints
from stream.messages import PoseFrame
from tests.examples import f32, pose, pose_frame


@dataclass
class Count:
    """A step that writes how many frames it has seen into `hop`."""

    seen: list[int] = field(default_factory=list)

    def finish(self, frame: PoseFrame) -> PoseFrame:
        self.seen.append(frame.header.seq)
        return replace(frame, hop=len(self.seen))


@dataclass
class Twice:
    def finish(self, frame: PoseFrame) -> PoseFrame:
        return replace(frame, hop=2 * frame.hop)


def test_steps_are_taken_in_order_and_every_source_has_its_own():
    made = []

    def make(source, size_wh):
        made.append((source, size_wh))
        return [Count(), Twice()]

    finish = Finish(make)
    hops = [finish.finish(pose_frame(source=name), (640, 480)).hop for name in ("a", "a", "b", "a")]
    assert hops == [2, 4, 2, 6]
    assert made == [("a", (640, 480)), ("b", (640, 480))]


def test_a_camera_that_changes_its_resolution_starts_anew():
    finish = Finish(lambda source, size_wh: [Count()])
    sizes = [(640, 480), (640, 480), (1280, 720), (1280, 720)]
    assert [finish.finish(pose_frame(), size_wh).hop for size_wh in sizes] == [1, 2, 1, 2]


def test_keypoints_that_nobody_wants_are_left_out():
    frame = pose_frame(persons=(pose(kp2d=f32([1, 2, 1], [3, 4, 1])), pose("b")))
    assert [person.kp2d for person in WithoutKeypoints().finish(frame).persons] == [None, None]
