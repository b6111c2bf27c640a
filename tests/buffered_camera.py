"""A camera for tests of the stages after the tracker: lifecycle and buffer, fed with people who have ids."""

from stream.health import Health
from stream.messages import KeypointFrame
from stream.tracking.lifecycle import Lifecycle, max_gap_s
from stream.tracking.tracker import Tracker
from stream.windows.camera_buffer import CameraBuffer
from stream.windows.pending import LiftRequest
from stream.windows.resample import AS_CAPTURED, Timing


class BufferedCamera:
    """Arguments as those of CameraBuffer and Lifecycle."""

    def __init__(
        self,
        name: str = "cam0",
        frames: int = 9,
        lossless: bool = False,
        predict_s: float = 0.25,
        health: Health | None = None,
        timing: Timing = AS_CAPTURED,
    ) -> None:
        self.lifecycle = Lifecycle(Tracker(), predict_s)
        self.buffer = CameraBuffer(name, frames, lossless, max_gap_s(predict_s), health or Health(), timing)

    def push(self, frame: KeypointFrame) -> None:
        self.buffer.push(frame, self.lifecycle.update(frame))

    def expire(self, now_ns: int) -> bool:
        """Announce the people lost by silence; True when there were any."""
        people = self.lifecycle.expire(now_ns)
        self.buffer.announce(people, now_ns)
        if self.lifecycle.is_silent(now_ns):
            self.buffer.mark_silent()
        return bool(people)

    def restart(self, now_ns: int) -> None:
        self.buffer.announce(self.lifecycle.restart(), now_ns)
        self.buffer.restart()

    def pop_due(self, hop: int = 1, lag: int = 0) -> LiftRequest | None:
        return self.buffer.pop_due(hop, lag)
