"""One source's thread: it reads, converts, tracks, and fills an intake per camera behind the source."""

import dataclasses
import logging
import threading
from typing import Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.config.load import Config
from stream.errors import EndOfStream
from stream.messages import Header, KeypointFrame, Keypoints
from stream.protocols import ComponentContext, Source, opened
from stream.tracking.left_right import LeftRightRepair
from stream.tracking.tracker import Tracker
from stream.windows.camera_buffer import MIN_GAP_S, CameraBuffer
from stream.windows.resample import AS_CAPTURED, Timing

log = logging.getLogger("poselift")

_TICK_S = 0.1  # how soon the thread notices a stop
_FAR = 10  # image sides; numbers without bounds would end in a lifter that refuses them
_MOST_CAMERAS = 256  # behind one network source; a sender of ever new names must not eat the memory
_BACK_NS = 1_000_000_000  # a frame later than this is not late: its clock was set back


class SourceListener(Protocol):
    """Who is told what happens in a feed's thread."""

    def seen(self, camera: str, size_wh: tuple[int, int]) -> None:
        """A camera is new, or its images have another size; called before its first frame is taken in."""
        ...

    def arrived(self) -> None:
        """There may be something to lift, or nothing more will come."""
        ...

    def failed(self, part: str, error: Exception) -> None:
        """Reading cannot go on."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class LifterInput:
    """What the lifter reads: joints of a skeleton, windows of so many frames, at a pace."""

    skeleton: str
    frames: int
    pace: Timing = AS_CAPTURED


@dataclasses.dataclass(slots=True)
class _Camera:
    """What the keypoints of one camera pass on their way. Who was announced as lost has no way back."""

    tracker: Tracker
    swaps: LeftRightRepair | None
    intake: CameraBuffer
    size_wh: tuple[int, int]
    newest: Header | None = None

    def accept(self, frame: KeypointFrame) -> None:
        self.newest, self.size_wh = frame.header, frame.size_wh
        self._take_in(self.tracker.update(frame))

    def expire(self, now_ns: int) -> bool:
        """Announce who has been silent for too long; True when there was anybody."""
        lost = self.intake.expire(now_ns)
        self.tracker.forget(lost)
        return bool(lost)

    def restart(self, now_ns: int) -> None:
        """Everybody is lost, and the next frame has nothing to do with those before."""
        self.finish()
        self.tracker.forget(self.intake.restart(now_ns))
        self.tracker.restart()
        self.newest = None

    def finish(self) -> None:
        """Hand over what the tracker still holds back."""
        self._take_in(self.tracker.end())

    def _take_in(self, frames: list[KeypointFrame]) -> None:
        for frame in frames:
            self.tracker.forget(self.intake.accept(self.swaps.update(frame) if self.swaps else frame))


class SourceThread:
    """Runs `source` in a thread of its own until it ends, fails, or is told to stop.

    One network source may bring the keypoints of many cameras; each gets a tracker and an intake.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        wanted: LifterInput,
        context: ComponentContext,
        listener: SourceListener,
    ) -> None:
        self.name = context.name
        self._source = source
        self._config = config
        self._wanted = wanted
        self._context = context
        self._listener = listener
        self._cameras: dict[str, _Camera] = {}
        self._stop = threading.Event()
        self._looked_ns = context.clock.now_ns()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"source:{self.name}", daemon=True)

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def intakes(self) -> list[CameraBuffer]:
        return [camera.intake for camera in list(self._cameras.values())]

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height of every camera's images."""
        return {name: camera.size_wh for name, camera in list(self._cameras.items())}

    @property
    def drained(self) -> bool:
        """Nothing more comes, and nothing waits."""
        return self._ended and all(intake.finished for intake in self.intakes)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Let go of what the thread waits for; False when it did not end in time."""
        for intake in self.intakes:
            intake.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with opened(self._source):
                while not self._stop.is_set():
                    frame = self._source.read(_TICK_S)
                    if frame is not None:
                        self._accept(self._converted(frame))
                    if self._source.live:
                        self._expire()
        except EndOfStream:
            for camera in self._cameras.values():
                camera.finish()
                if self._source.live:  # others may go on, and nobody else will say so
                    camera.restart(self._context.clock.now_ns())
            self._context.health.set_state(self.name, "ended")
            log.info("%s: ended", self.name)
        except Exception as error:
            self._listener.failed(self.name, error)
        finally:
            for intake in self.intakes:
                intake.end()
            self._ended = True
            self._listener.arrived()

    def _converted(self, frame: KeypointFrame) -> KeypointFrame:
        """The frame in the lifter's skeleton; joints too weak or too far out count as not seen."""
        farthest, target = _FAR * max(frame.size_wh), self._wanted.skeleton
        persons = []
        for person in frame.persons:
            far = np.abs(person.xy) > farthest
            if np.count_nonzero(far):
                person = self._near(person, np.logical_or.reduce(far, axis=1), frame.header.source)
            here = skeletons.convert(person, frame.skeleton, target)
            weak = here.score < self._config.lifter.min_score
            persons.append(_without(here, weak) if np.count_nonzero(weak) else here)
        if all(here is person for here, person in zip(persons, frame.persons, strict=True)):
            return frame
        return dataclasses.replace(frame, skeleton=target, persons=tuple(persons))

    def _near(self, person: Keypoints, far: NDArray[np.bool_], camera: str) -> Keypoints:
        self._context.health.increment(camera, "far_joints", int(far.sum()))
        return _without(person, far)

    def _accept(self, frame: KeypointFrame) -> None:
        name = frame.header.source
        self._context.health.increment(name, "frames")
        camera = self._cameras.get(name)
        if camera is not None and not self._in_order(camera, frame.header):
            return
        if camera is None or camera.size_wh != frame.size_wh:
            if camera is None and len(self._cameras) >= _MOST_CAMERAS:
                self._context.health.increment(self.name, "drop.too_many_cameras")
                return
            self._listener.seen(name, frame.size_wh)
        if camera is None:
            camera = self._cameras[name] = self._camera(name, frame.size_wh)
        camera.accept(frame)
        self._listener.arrived()

    def _in_order(self, camera: _Camera, header: Header) -> bool:
        """Whether a frame is newer than those before it. One whose clock was set back begins anew."""
        if camera.newest is None:
            return True
        newest = camera.newest
        sent_ns = header.captured_unix_ns - newest.captured_unix_ns
        twice = sent_ns == 0  # a sender's own stamp
        # Of a sender whose clock is ahead, captures count as of now; then only its own stamps tell the order.
        since_ns = min(header.captured_ns - newest.captured_ns, sent_ns)
        if since_ns < -_BACK_NS:
            log.warning("%s: its clock went back by %.1f s; it starts anew", header.source, -since_ns / 1e9)
            self._context.health.increment(header.source, "clock_back")
            camera.restart(self._context.clock.now_ns())
        elif twice or since_ns <= 0:
            self._context.health.increment(
                header.source, "drop.duplicate" if twice or since_ns == 0 else "drop.out_of_order"
            )
            return False
        return True

    def _camera(self, name: str, size_wh: tuple[int, int]) -> _Camera:
        config, wanted = self._config, self._wanted
        context = dataclasses.replace(self._context, name=name)
        predict_s = config.lifter.predict_s
        within_s = max(predict_s, MIN_GAP_S)
        tracker = Tracker(
            config.tracking, within_s, None if self.live else crc32(name.encode()), not self.live
        )
        swaps = LeftRightRepair(wanted.skeleton, context) if config.tracking.fix_left_right else None
        lossless = not self.live
        intake = CameraBuffer(name, wanted.frames, lossless, predict_s, context.health, wanted.pace)
        return _Camera(tracker, swaps, intake, size_wh)

    def _expire(self) -> None:
        """Look for cameras that have fallen silent, also while others are busy."""
        now_ns = self._context.clock.now_ns()
        if now_ns < self._looked_ns + _TICK_S * 1e9:
            return
        self._looked_ns = now_ns
        for camera in self._cameras.values():
            if camera.expire(now_ns):
                self._listener.arrived()


def _without(person: Keypoints, joints: NDArray[np.bool_]) -> Keypoints:
    """The person with these joints (J,) not seen."""
    xy, score = person.xy.copy(), person.score.copy()
    xy[joints], score[joints] = np.nan, 0.0
    return dataclasses.replace(person, xy=xy, score=score)
