import pytest

from stream.clock import FakeClock
from stream.health import Health
from stream.messages import Header, Latency, Meta, Mode, ModelInfo, PoseFrame
from stream.postprocess.assemble import FrameAssembler, LiftedPass, Publisher
from stream.postprocess.batch import PoseBatch
from stream.protocols import ComponentContext
from stream.windows.pending import LiftRequest, PendingFrame
from tests.examples import meta

SIZE_WH = (640, 480)
MS = 1_000_000


class MoveToWorld:
    """A step that gives all frames from sequence number `since` on the frame_id "world"."""

    def __init__(self, since: int) -> None:
        self.since = since

    def apply(self, batch: PoseBatch) -> None:
        for frame in batch.frames:
            if frame.header.seq >= self.since:
                frame.frame_id = "world"


class Bench:
    """A publisher, the messages that it sent, and the cameras that it described."""

    def __init__(self, *steps: MoveToWorld) -> None:
        self.clock, self.health = FakeClock(), Health()
        self.sent: list[PoseFrame | Meta] = []
        self.described: list[tuple[str, tuple[int, int]]] = []
        context = ComponentContext("lift", clock=self.clock, health=self.health)
        assembler = FrameAssembler("h36m17", ModelInfo("x", "0"), "s", "live", 3)
        self.publisher = Publisher(assembler, steps, self.sent.append, context, self.describe)

    def describe(self, source: str, size_wh: tuple[int, int]) -> Meta:
        self.described.append((source, size_wh))
        return meta(source)

    def publish(self, *seqs: int, source: str = "cam0") -> None:
        self.publisher.publish([empty_pass(*seqs, source=source, now_ns=self.clock.now_ns())])

    @property
    def order(self) -> list[object]:
        """frame_id of each pose frame sent, and the source of each Meta."""
        return [m.frame_id if isinstance(m, PoseFrame) else (m.source,) for m in self.sent]


def empty_pass(*seqs: int, source: str = "cam0", now_ns: int = 0) -> LiftedPass:
    """Frames without people, captured 50 ms before they are lifted."""
    captured_ns = now_ns - 50 * MS
    frames = [
        PendingFrame(Header(source, seq, captured_ns, 0), SIZE_WH, captured_ns + 30 * MS, 10.0, (), seq, seq)
        for seq in seqs
    ]
    return LiftedPass(LiftRequest(frames, {}), now_ns)


@pytest.mark.parametrize(
    ("mode", "latency"),
    [("live", Latency(10.0, 20.0, 20.0, 8.0, 1.5)), ("offline", Latency(lift=8.0, post=1.5))],
)
def test_a_frame_carries_the_latency_of_each_stage_and_a_file_s_only_those_on_this_clock(
    mode: Mode, latency: Latency
):
    assembler = FrameAssembler("h36m17", ModelInfo("x", "0"), "s", mode, 3)
    batch = assembler.batch([empty_pass(7, 8, now_ns=1000 * MS)], 1008 * MS, {"cam0": 5}.__getitem__)
    frame = assembler.frame(batch, batch.frames[1], 1.5, 42)
    assert frame.latency_ms == latency
    assert (frame.header.seq, frame.persons, frame.frame_id) == (8, (), "cam0_optical_frame")
    assert (frame.mode, frame.lag, frame.hop, frame.dropped, frame.published_unix_ns) == (mode, 3, 2, 5, 42)


def test_all_frames_of_a_pass_are_sent_in_order_and_counted():
    bench = Bench()
    bench.publish(0, 1, 2)
    assert [frame.header.seq for frame in bench.sent] == [0, 1, 2]
    counts = {name: bench.health.counter("lift", name) for name in ("frames", "poses", "passes")}
    assert counts == {"frames": 3, "poses": 0, "passes": 1}


def test_a_source_is_described_before_its_first_pose_in_another_frame():
    bench = Bench(MoveToWorld(since=2))
    bench.publish(0)
    bench.publish(1, 2, 3)
    bench.publish(4)
    assert bench.order == ["cam0_optical_frame"] * 2 + [("cam0",)] + ["world"] * 3
    assert bench.described == [("cam0", SIZE_WH)]


def test_a_source_whose_frame_never_changes_is_not_described_again():
    bench = Bench(MoveToWorld(since=0))
    bench.publish(0)
    bench.publish(1)
    assert bench.order == ["world", "world"]


def test_each_source_is_described_on_its_own():
    bench = Bench(MoveToWorld(since=1))
    for seq in (0, 1):
        bench.publish(seq, source="cam0")
        bench.publish(seq, source="cam1")
    optical = ["cam0_optical_frame", "cam1_optical_frame"]
    assert bench.order == [*optical, ("cam0",), "world", ("cam1",), "world"]
