"""Stages of one camera's keypoints between cleaning and lifting: tracker, repair, lifecycle, buffer."""

from dataclasses import dataclass
from zlib import crc32

from stream.config.load import Config
from stream.messages import Header, KeypointFrame, TrackedPerson
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog
from stream.tracking.left_right import LeftRightRepair
from stream.tracking.lifecycle import Lifecycle, max_gap_s
from stream.tracking.people_limit import PeopleLimit
from stream.tracking.tracker import Tracker
from stream.windows.camera_buffer import CameraBuffer
from stream.windows.resample import AS_CAPTURED, Timing

MAX_UNCONFIRMED_IDS = 25  # ids of a sender that no later frame confirms, before a warning


@dataclass(frozen=True, slots=True)
class LifterInput:
    """Input of the lifter: skeleton of the keypoints, frames per window, times of windows and poses."""

    skeleton: str
    frames: int
    timing: Timing = AS_CAPTURED


class CameraStages:
    """Stages of the camera that `context` names, and its newest frame.

    size_wh: width and height of its images in pixels. newest: header of the newest frame, None at the start
    and after `restart`; announced: that of the last loss by silence since then. heard_ns: when the newest
    frame was taken. limit: of the people of a live source; log: of its warnings. A file (not live) is tracked
    with look-ahead, waits for room in the buffer, and gets the same ids in every replay.
    """

    def __init__(
        self,
        size_wh: tuple[int, int],
        config: Config,
        lifter_input: LifterInput,
        live: bool,
        context: ComponentContext,
        limit: PeopleLimit,
        log: RateLimitedLog,
    ) -> None:
        name, predict_s = context.name, config.lifter.predict_s
        gap_s = max_gap_s(predict_s)
        seed = None if live else crc32(name.encode())
        self.size_wh = size_wh
        self.newest: Header | None = None
        self.announced: Header | None = None
        self.heard_ns = 0
        self._context, self._log = context, log
        self._tracker = Tracker(config.tracking, gap_s, seed, not live, limit if live else None)
        self._left_right = (
            LeftRightRepair(lifter_input.skeleton, context) if _fixes_left_right(config, name) else None
        )
        self._lifecycle = Lifecycle(self._tracker, predict_s)
        self.buffer = CameraBuffer(
            name, lifter_input.frames, not live, gap_s, context.health, lifter_input.timing
        )

    def push(self, frame: KeypointFrame) -> None:
        """Take a cleaned frame, newer than the frame before."""
        self.newest, self.size_wh = frame.header, frame.size_wh
        self.heard_ns = self._context.clock.now_ns()
        self._buffer_frames(self._tracker.update(frame))
        if self._tracker.ignored_people or self._tracker.unconfirmed_ids > MAX_UNCONFIRMED_IDS:
            self._warn()

    def _warn(self) -> None:
        tracker, name = self._tracker, self._context.name
        if tracker.unconfirmed_ids > MAX_UNCONFIRMED_IDS:
            tracker.unconfirmed_ids = 0
            self._log.warning(
                "changing_ids",
                "%s: the ids of people change from frame to frame, so that no person is confirmed; send the "
                "same id for the same person in every frame, or no ids",
                name,
            )
        if tracker.ignored_people:
            self._context.health.increment(name, "ignored_people", tracker.ignored_people)
            tracker.ignored_people = 0
            self._log.warning("ignored_people", "%s: too many people at once; some are ignored", name)

    def expire(self, now_ns: int) -> bool:
        """Announce the people lost by silence; True when there were any."""
        people = self._lifecycle.expire(now_ns)
        self._announce(people, now_ns)
        if self._lifecycle.is_silent(now_ns):
            self.buffer.mark_silent()
        return bool(people)

    def finish(self) -> None:
        """Buffer the frames that the tracker still holds back."""
        self._buffer_frames(self._tracker.flush())

    def restart(self, now_ns: int) -> None:
        """Finish and lose all people; the next frame has nothing to do with the frames before."""
        self.finish()
        self._announce(self._lifecycle.restart(), now_ns)
        self.buffer.restart()
        self._tracker.restart()
        self.newest = self.announced = None

    def _announce(self, people: tuple[TrackedPerson, ...], now_ns: int) -> None:
        if people:
            self.announced = self.buffer.announce(people, now_ns)

    def _buffer_frames(self, frames: list[KeypointFrame]) -> None:
        for frame in frames:
            repaired = self._left_right.update(frame) if self._left_right else frame
            self.buffer.push(repaired, self._lifecycle.update(repaired))


def _fixes_left_right(config: Config, camera: str) -> bool:
    setting, source = config.tracking.fix_left_right, config.sources.get(camera)
    return (source is not None and source.detector is not None) if setting == "auto" else setting
