from dataclasses import dataclass, field

import numpy as np

from stream.clock import FakeClock
from stream.health import Health
from stream.messages import Header, JointOrigin, KeypointFrame, Keypoints, ModelInfo, PoseFrame
from stream.postprocess.assemble import FrameAssembler, Publisher
from stream.protocols import ComponentContext
from stream.runtime.lift_thread import LiftThread
from stream.windows.camera_buffer import CameraBuffer


@dataclass
class Spec:
    frames: int = 9


@dataclass
class Echo:
    """A lifter whose pose of a frame is that frame's keypoints; takes 10 ms per pass."""

    clock: FakeClock
    spec: Spec = field(default_factory=Spec)
    batches: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def lift(self, windows, last=None):
        self.batches.append(len(windows))
        self.asked.append(last)
        self.clock.advance(0.010)
        return np.stack([window.keypoints[-last:] for window in windows])


class Bench:
    """Intakes, an echoing lifter and what it sent, on a clock that only the test moves."""

    def __init__(self, hop="auto", lag: int = 0, lossless: bool = False, blend: int = 0) -> None:
        self.clock = FakeClock()
        self.health = Health()
        self.sent: list[PoseFrame] = []
        self.lifter = Echo(self.clock)
        self.intakes = {name: CameraBuffer(name, 9, lossless, 0.25, self.health) for name in ("cam0", "cam1")}
        emitter = FrameAssembler("h36m17", ModelInfo("echo", "0"), "s", "live", lag)
        context = ComponentContext("lift", clock=self.clock, health=self.health)
        publisher = Publisher(emitter, [], self.sent.append, context)
        self.lifting = LiftThread(self.lifter, publisher, hop, blend, context)

    def see(self, seq: int, *ids: str, camera: str = "cam0", joints_missing: tuple[int, ...] = ()) -> None:
        persons = []
        for id in ids:
            xy = np.full((17, 2), seq, np.float32)
            score = np.full(17, 0.5, np.float32)
            xy[list(joints_missing)], score[list(joints_missing)] = np.nan, 0
            persons.append(Keypoints(xy, score, id))
        at = self.clock.now_ns(), self.clock.unix_ns()
        header = Header(camera, seq, *at)
        self.intakes[camera].accept(KeypointFrame(header, (640, 480), "h36m17", tuple(persons), at[0]))
        self.clock.advance(0.1)

    def once(self) -> bool:
        return self.lifting.once(self.intakes.values())


def test_every_frame_is_published_in_order_with_its_own_pose():
    bench = Bench()
    for seq in range(5):
        bench.see(seq, "a")
    assert bench.once()
    assert [frame.header.seq for frame in bench.sent] == [0, 1, 2, 3, 4]
    assert [frame.persons[0].xyz[0, 0] for frame in bench.sent] == [0, 1, 2, 3, 4]
    assert {frame.hop for frame in bench.sent} == {5}
    assert not bench.once()


def test_people_of_all_cameras_are_lifted_in_one_batch():
    bench = Bench()
    bench.see(0, "a", "b")
    bench.see(0, "c", camera="cam1")
    bench.once()
    assert bench.lifter.batches == [3]
    assert [[who.id for who in frame.persons] for frame in bench.sent] == [["a", "b"], ["c"]]


def test_a_frame_without_people_is_published():
    bench = Bench()
    bench.see(0)
    bench.once()
    assert [frame.persons for frame in bench.sent] == [()]


def test_window_info_counts_real_and_padded_frames():
    bench = Bench()
    for seq in range(3):
        bench.see(seq, "a")
    bench.once()
    assert (bench.sent[0].window.frames, bench.sent[0].window.real, bench.sent[0].window.padded) == (9, 3, 6)


def test_the_pose_of_a_lost_person_is_absent_not_zero():
    bench = Bench()
    for seq, ids in enumerate([("a",), (), (), (), ()]):
        bench.see(seq, *ids)
    bench.once()
    states = [[who.state for who in frame.persons] for frame in bench.sent]
    assert states == [["new"], ["predicted"], ["predicted"], ["lost"], []]
    lost = bench.sent[3].persons[0]
    assert np.isnan(lost.xyz).all()
    assert lost.origin.tolist() == [JointOrigin.ABSENT] * 17
    assert lost.score.tolist() == [0.0] * 17


def test_a_person_who_returns_with_the_same_id_gets_current_poses():
    bench = Bench()
    for seq, ids in enumerate([("a",), ("a",), (), (), (), (), ("a",)]):
        bench.see(seq, *ids)
    assert bench.once()
    states = [[who.state for who in frame.persons] for frame in bench.sent]
    assert states == [["new"], ["ok"], ["predicted"], ["predicted"], ["lost"], [], ["new"]]
    assert [bench.sent[seq].persons[0].xyz[0, 0] for seq in (0, 1, 6)] == [0, 1, 6]


def test_latency_is_measured_per_stage():
    bench = Bench()
    bench.see(0, "a")  # 100 ms pass before the lift starts, which takes 10 ms
    bench.once()
    frame = bench.sent[0]
    assert (frame.latency_ms.detect, frame.latency_ms.queue, frame.latency_ms.lift) == (0.0, 100.0, 10.0)
    assert frame.age_ms(frame.published_unix_ns) == 110.0


def test_a_fixed_hop_waits_for_its_number_of_frames():
    bench = Bench(hop=3)
    bench.see(0, "a")
    bench.see(1, "a")
    assert not bench.once()
    bench.see(2, "a")
    assert bench.once()
    assert [frame.hop for frame in bench.sent] == [3, 3, 3]


def test_a_missing_joint_is_marked_as_predicted_with_score_0():
    bench = Bench()
    bench.see(0, "a")
    bench.see(1, "a", joints_missing=(16,))
    bench.once()
    person = bench.sent[1].persons[0]
    assert person.origin.tolist() == [JointOrigin.OBSERVED] * 16 + [JointOrigin.PREDICTED]
    assert person.score.tolist() == [0.5] * 16 + [0.0]


def test_the_lifter_computes_only_poses_to_publish_or_blend():
    """One per new frame, the one published last, and three before it."""
    bench = Bench(blend=5)
    for seq in range(20):
        bench.see(seq, "a")
        if seq in (8, 9, 13, 19):
            bench.once()
    assert bench.lifter.asked == [9, 5, 8, 9]
    assert [frame.persons[0].xyz[0, 0] for frame in bench.sent] == list(range(20))
