"""One source's thread: it reads, converts, tracks, and fills an intake per camera behind the source."""

import dataclasses
import logging
import threading
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.config import Config
from stream.context import Context
from stream.errors import EndOfStream
from stream.intake import Intake
from stream.messages import KeypointFrame, Keypoints
from stream.protocols import Source
from stream.swaps import Swaps
from stream.tracker import Tracker

log = logging.getLogger("poselift")

_TICK_S = 0.1  # how soon the thread notices a stop
_FAR = 10  # image sides; numbers without bounds would end in a lifter that refuses them
_MOST_CAMERAS = 256  # behind one network source; a sender of ever new names must not eat the memory


class Listener(Protocol):
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


@dataclasses.dataclass(slots=True)
class _Camera:
    """What the keypoints of one camera pass on their way."""

    tracker: Tracker
    swaps: Swaps | None
    intake: Intake
    size_wh: tuple[int, int]

    def accept(self, frames: list[KeypointFrame]) -> None:
        for frame in frames:
            self.intake.accept(self.swaps.update(frame) if self.swaps else frame)


class Feed:
    """Runs `source` in a thread of its own until it ends, fails, or is told to stop.

    One network source may bring the keypoints of many cameras; each gets a tracker and an intake.
    """

    def __init__(
        self, source: Source, config: Config, wanted: tuple[str, int], context: Context, listener: Listener
    ) -> None:
        self.name = context.name
        self._source = source
        self._config = config
        self._skeleton, self._frames = wanted  # what the lifter reads: its skeleton, its window's length
        self._context = context
        self._listener = listener
        self._cameras: dict[str, _Camera] = {}
        self._stop = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"source:{self.name}", daemon=True)

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def intakes(self) -> list[Intake]:
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
            with self._source:
                while not self._stop.is_set():
                    frame = self._source.read(_TICK_S)
                    if frame is not None:
                        self._accept(self._converted(frame))
                    elif self._source.live:
                        self._expire()
        except EndOfStream:
            for camera in self._cameras.values():
                camera.accept(camera.tracker.end())
            self._context.health.state(self.name, "ended")
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
        farthest = _FAR * max(frame.size_wh)
        persons = []
        for person in frame.persons:
            far = np.greater(np.abs(person.xy).max(axis=1), farthest)
            if far.any():
                self._context.health.count(frame.header.source, "far_joints", int(far.sum()))
            here = skeletons.convert(_without(person, far), frame.skeleton, self._skeleton)
            persons.append(_without(here, np.less(here.score, self._config.lifter.min_score)))
        return dataclasses.replace(frame, skeleton=self._skeleton, persons=tuple(persons))

    def _accept(self, frame: KeypointFrame) -> None:
        name = frame.header.source
        self._context.health.count(name, "frames")
        camera = self._cameras.get(name)
        if camera is None or camera.size_wh != frame.size_wh:
            if camera is None and len(self._cameras) >= _MOST_CAMERAS:
                self._context.health.count(self.name, "drop.too_many_cameras")
                return
            self._listener.seen(name, frame.size_wh)
        if camera is None:
            camera = self._cameras[name] = self._camera(name, frame.size_wh)
        camera.size_wh = frame.size_wh
        camera.accept(camera.tracker.update(frame))
        self._listener.arrived()

    def _camera(self, name: str, size_wh: tuple[int, int]) -> _Camera:
        config, context = self._config, dataclasses.replace(self._context, name=name)
        predict_s = config.lifter.predict_s
        # Whoever is still predicted must not come back as somebody else.
        people = msgspec.structs.replace(
            config.people, max_missing_s=max(config.people.max_missing_s, predict_s)
        )
        swaps = Swaps(self._skeleton, context) if config.steady.swaps else None
        intake = Intake(name, self._frames, not self.live, predict_s, context.health)
        return _Camera(Tracker(people, patient=not self.live), swaps, intake, size_wh)

    def _expire(self) -> None:
        for intake in self.intakes:
            if intake.expire(self._context.clock.now_ns()):
                self._listener.arrived()


def _without(person: Keypoints, joints: NDArray[np.bool_]) -> Keypoints:
    """The person with these joints (J,) not seen."""
    if not joints.any():
        return person
    xy, score = person.xy.copy(), person.score.copy()
    xy[joints], score[joints] = np.nan, 0.0
    return dataclasses.replace(person, xy=xy, score=score)
