from dataclasses import dataclass, field

import numpy as np

from stream.clock import FakeClock
from stream.errors import LifterUnavailable
from stream.health import Health
from stream.messages import Header, JointOrigin, KeypointFrame, Keypoints, ModelInfo, PoseFrame
from stream.postprocess.assemble import FrameAssembler, Publisher
from stream.protocols import ComponentContext
from stream.runtime.batch_lifter import BatchLifter
from tests.buffered_camera import BufferedCamera


@dataclass
class Spec:
    frames: int = 9


@dataclass
class EchoLifter:
    """The pose of a frame is the frame's keypoints; a batch takes 10 ms."""

    clock: FakeClock
    spec: Spec = field(default_factory=Spec)
    batch_sizes: list[int] = field(default_factory=list)
    last_frames: list[int] = field(default_factory=list)

    def lift(self, windows, last=None):
        self.batch_sizes.append(len(windows))
        self.last_frames.append(last)
        self.clock.advance(0.010)
        return np.stack([window.keypoints[-last:] for window in windows])


class Bench:
    """Two cameras, an echoing lifter and its published frames, on a clock that only the test moves."""

    def __init__(self, hop="auto", lag: int = 0, blend: int = 0, make_lifter=EchoLifter) -> None:
        self.clock = FakeClock()
        self.sent: list[PoseFrame] = []
        self.lifter = make_lifter(self.clock)
        context = ComponentContext("lift", clock=self.clock, health=Health())
        self.cameras = {name: BufferedCamera(name, health=context.health) for name in ("cam0", "cam1")}
        assembler = FrameAssembler("h36m17", ModelInfo("echo", "0"), "s", "live", lag)
        publisher = Publisher(assembler, [], self.sent.append, context)
        self.batches = BatchLifter(self.lifter, publisher, hop, blend, context)

    def capture(
        self, seq: int, *ids: str, camera: str = "cam0", missing_joints: tuple[int, ...] = ()
    ) -> None:
        """A frame of these people, every joint at x = y = seq; then 100 ms pass."""
        persons = []
        for id in ids:
            xy = np.full((17, 2), seq, np.float32)
            score = np.full(17, 0.5, np.float32)
            xy[list(missing_joints)], score[list(missing_joints)] = np.nan, 0
            persons.append(Keypoints(xy, score, id))
        now_ns = self.clock.now_ns()
        header = Header(camera, seq, now_ns, self.clock.unix_ns())
        self.cameras[camera].push(KeypointFrame(header, (640, 480), "h36m17", tuple(persons), now_ns))
        self.clock.advance(0.1)

    def lift(self) -> bool:
        return self.batches.lift_next_batch([camera.buffer for camera in self.cameras.values()])

    @property
    def states(self) -> list[list[str]]:
        """States of the people of every published frame."""
        return [[person.state for person in frame.persons] for frame in self.sent]


def test_every_frame_is_published_in_order_with_its_own_pose():
    bench = Bench()
    for seq in range(5):
        bench.capture(seq, "a")
    assert bench.lift()
    assert [frame.header.seq for frame in bench.sent] == [0, 1, 2, 3, 4]
    assert [frame.persons[0].xyz[0, 0] for frame in bench.sent] == [0, 1, 2, 3, 4]
    assert {frame.hop for frame in bench.sent} == {5}
    assert not bench.lift()


def test_people_of_all_cameras_are_lifted_in_one_batch():
    bench = Bench()
    bench.capture(0, "a", "b")
    bench.capture(0, "c", camera="cam1")
    bench.lift()
    assert bench.lifter.batch_sizes == [3]
    assert [[person.id for person in frame.persons] for frame in bench.sent] == [["a", "b"], ["c"]]


def test_a_frame_without_people_is_published():
    bench = Bench()
    bench.capture(0)
    bench.lift()
    assert [frame.persons for frame in bench.sent] == [()]


def test_window_info_counts_real_and_padded_frames():
    bench = Bench()
    for seq in range(3):
        bench.capture(seq, "a")
    bench.lift()
    window = bench.sent[0].window
    assert (window.frames, window.real, window.padded) == (9, 3, 6)


def test_the_pose_of_a_lost_person_is_absent_not_zero():
    bench = Bench()
    for seq, ids in enumerate([("a",), (), (), (), ()]):
        bench.capture(seq, *ids)
    bench.lift()
    assert bench.states == [["new"], ["predicted"], ["predicted"], ["lost"], []]
    lost = bench.sent[3].persons[0]
    assert np.isnan(lost.xyz).all()
    assert lost.origin.tolist() == [JointOrigin.ABSENT] * 17
    assert lost.score.tolist() == [0.0] * 17


def test_a_person_who_returns_with_the_same_id_gets_current_poses():
    bench = Bench()
    for seq, ids in enumerate([("a",), ("a",), (), (), (), (), ("a",)]):
        bench.capture(seq, *ids)
    assert bench.lift()
    assert bench.states == [["new"], ["ok"], ["predicted"], ["predicted"], ["lost"], [], ["new"]]
    assert [bench.sent[seq].persons[0].xyz[0, 0] for seq in (0, 1, 6)] == [0, 1, 6]


def test_latency_is_measured_per_stage():
    bench = Bench()
    bench.capture(0, "a")  # 100 ms pass before the lift starts, which takes 10 ms
    bench.lift()
    frame = bench.sent[0]
    assert (frame.latency_ms.detect, frame.latency_ms.queue, frame.latency_ms.lift) == (0.0, 100.0, 10.0)
    assert frame.age_ms(frame.published_unix_ns) == 110.0


def test_a_fixed_hop_waits_for_its_number_of_frames():
    bench = Bench(hop=3)
    bench.capture(0, "a")
    bench.capture(1, "a")
    assert not bench.lift()
    bench.capture(2, "a")
    assert bench.lift()
    assert [frame.hop for frame in bench.sent] == [3, 3, 3]


def test_a_file_is_lifted_by_thirds_of_the_window_less_the_look_ahead():
    """Every pose of a file then has at least two thirds of a window of frames before it."""
    for lag, hop in ((0, 3), (3, 2), (7, 1)):
        bench = Bench(lag=lag)
        bench.cameras["cam0"] = BufferedCamera("cam0", lossless=True)
        for seq in range(9):
            bench.capture(seq, "a")
        assert bench.lift()
        assert [frame.hop for frame in bench.sent] == [hop] * hop


def test_a_missing_joint_is_marked_as_predicted_with_score_0():
    bench = Bench()
    bench.capture(0, "a")
    bench.capture(1, "a", missing_joints=(16,))
    bench.lift()
    person = bench.sent[1].persons[0]
    assert person.origin.tolist() == [JointOrigin.OBSERVED] * 16 + [JointOrigin.PREDICTED]
    assert person.score.tolist() == [0.5] * 16 + [0.0]


def test_the_lifter_computes_only_poses_to_publish_or_blend():
    """The poses of new frames, the pose published last, and three before it."""
    bench = Bench(blend=5)
    for seq in range(20):
        bench.capture(seq, "a")
        if seq in (8, 9, 13, 19):
            bench.lift()
    assert bench.lifter.last_frames == [9, 5, 8, 9]
    assert [frame.persons[0].xyz[0, 0] for frame in bench.sent] == list(range(20))


def test_windows_are_adapted_to_the_lifter_by_camera():
    bench, adapted = Bench(), []
    publisher = Publisher(
        FrameAssembler("h36m17", ModelInfo(), "s", "live", 0), [], bench.sent.append, ComponentContext("lift")
    )

    def adapt(camera, window):
        adapted.append(camera)
        return window

    batches = BatchLifter(bench.lifter, publisher, 1, 0, ComponentContext("lift"), adapt)
    bench.capture(0, "a")
    bench.capture(0, "b", camera="cam1")
    batches.lift_next_batch([camera.buffer for camera in bench.cameras.values()])
    assert adapted == ["cam0", "cam1"]


class AwayLifter(EchoLifter):
    """An echoing lifter that cannot be reached while `away`."""

    away = True

    def lift(self, windows, last=None):
        if self.away:
            raise LifterUnavailable("the service is away")
        return super().lift(windows, last)


def test_frames_wait_for_a_lifter_that_cannot_be_reached_and_are_all_published_later():
    bench = Bench(make_lifter=AwayLifter)
    for seq in range(3):
        bench.capture(seq, "a", "b")
        assert not bench.lift()
    assert bench.sent == []
    assert bench.batches.busy
    bench.lifter.away = False
    while bench.lift():
        pass
    assert [frame.header.seq for frame in bench.sent] == [0, 1, 2]
    assert [person.xyz[0, 0] for frame in bench.sent for person in frame.persons] == [0, 0, 1, 1, 2, 2]
