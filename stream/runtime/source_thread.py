"""The thread of a source: reads keypoints, cleans and tracks them, and fills a buffer per camera."""

import dataclasses
import logging
import threading
from typing import Protocol

from stream.config.load import Config
from stream.errors import EndOfStream
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext, Source, opened
from stream.rate_limited_log import RateLimitedLog
from stream.runtime.camera_names import SILENT_S, CameraNames
from stream.runtime.camera_stages import CameraStages, LifterInput
from stream.runtime.frame_order import FrameOrder
from stream.tracking import association
from stream.tracking.clean import Cleaner
from stream.tracking.people_limit import MAX_PEOPLE, PeopleLimit
from stream.windows.camera_buffer import CameraBuffer

log = logging.getLogger("poselift")

_TICK_S = 0.1  # how soon the thread notices a stop
_LATE = 0.5  # of the age at which poses are dropped; the rest of it is for lifting
_MAX_CAMERAS = 256  # behind one network source, so that a sender of ever new names cannot exhaust the memory


class SourceListener(Protocol):
    """Gets the events of a source thread, in that thread."""

    def on_camera(self, camera: str, size_wh: tuple[int, int]) -> None:
        """A camera is new, or its images have another size; comes before the first such frame is buffered."""
        ...

    def on_frames(self) -> None:
        """Buffers have changed: there may be frames to lift, or the source has ended."""
        ...

    def on_error(self, component: str, error: Exception) -> None:
        """The source cannot go on."""
        ...


class SourceThread:
    """Runs `source` in a thread of its own until it ends, fails, or is stopped.

    One network source may bring the keypoints of many cameras; every camera gets its own tracker and buffer.
    names: who may use which camera name, shared by all sources.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        lifter_input: LifterInput,
        context: ComponentContext,
        listener: SourceListener,
        names: CameraNames | None = None,
    ) -> None:
        self.name = context.name
        self._source = source
        self._config = config
        self._lifter_input = lifter_input
        self._context = context
        self._listener = listener
        self._cleaner = Cleaner(lifter_input.skeleton, config.lifter.min_score, context.health)
        self._cameras: dict[str, CameraStages] = {}
        self._names = names or CameraNames()
        self._people_limit = PeopleLimit()
        self._log = RateLimitedLog(context.clock)
        settings = config.sources.get(context.name)
        self._detects = settings is not None and settings.detector is not None
        self._order = FrameOrder(self._detects and source.live, context, self._log)
        association.warm_up()
        self._stop = threading.Event()
        self.removed = self.failed = False  # removed: by `remove`. failed: ended by an error
        self._last_check_ns = context.clock.now_ns()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"source:{self.name}", daemon=True)

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def buffers(self) -> list[CameraBuffer]:
        """The buffer of every camera so far."""
        return [camera.buffer for camera in list(self._cameras.values())]

    @property
    def sizes_wh(self) -> dict[str, tuple[int, int]]:
        """Width and height of every camera's images in pixels, by camera."""
        return {name: camera.size_wh for name, camera in list(self._cameras.items())}

    @property
    def drained(self) -> bool:
        """Whether the source has ended and no frame is pending."""
        return self._ended and all(buffer.finished for buffer in self.buffers)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Make the thread end soon; returns at once."""
        self._stop.set()

    def remove(self) -> None:
        """Make the thread announce its people as lost and end; returns at once."""
        self.removed = True
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, whose buffers no longer make it wait; False when it did not end in time."""
        for buffer in self.buffers:
            buffer.close()
        if self._thread.ident is not None:  # it was started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        health = self._context.health
        try:
            with opened(self._source):
                following: KeypointFrame | None = None
                while not self._stop.is_set():
                    health.touch(self._thread.name, "loop", self._context.clock.now_ns())
                    frame = following or self._source.read(_TICK_S)
                    following = self._source.read(0.0) if frame and self._is_late(frame) else None
                    if following is not None:
                        self._drop_late()
                    elif frame is not None:
                        self._push(frame)
                    if self._source.live:
                        self._expire()
                if self.removed:  # before closing the source, which may take its time
                    self._finish(lose=True)
        except EndOfStream:
            # With a live source other sources may go on, while no later frame can lose these people.
            self._finish(lose=self._source.live)
            self._context.health.set_state(self.name, "ended")
            log.info("%s: ended", self.name)
        except Exception as error:
            self.failed = True
            self._listener.on_error(self.name, error)
        finally:
            for buffer in self.buffers:
                buffer.end()
            self._ended = True
            health.forget(self._thread.name, "loop")
            self._listener.on_frames()

    def _is_late(self, frame: KeypointFrame) -> bool:
        """Whether received keypoints used up so much of `max_age_ms` that they may be too old once lifted."""
        max_age_ms = self._config.lifter.max_age_ms
        if max_age_ms is None or self._detects or not self.live:
            return False
        age_ns = self._context.clock.now_ns() - frame.header.captured_ns
        return age_ns > _LATE * max_age_ms * 1e6

    def _drop_late(self) -> None:
        """Drop late keypoints that others wait behind: with all of them tracked, all would be too old."""
        self._context.health.increment(self.name, "drop.source_behind")
        self._log.warning(
            "source_behind",
            "%s: keypoints arrive faster than they can be tracked; late ones are dropped. Send fewer cameras "
            "to one process (workers), or fewer frames per second",
            self.name,
        )

    def _finish(self, lose: bool) -> None:
        """Buffer the frames that trackers hold back. lose: announce the people as lost too."""
        for camera in self._cameras.values():
            camera.finish()
            if lose:
                camera.restart(self._context.clock.now_ns())

    def _push(self, frame: KeypointFrame) -> None:
        name = frame.header.source
        camera = self._cameras.get(name)
        if not self._may_use(name) or (camera is None and not self._has_room()):
            return
        self._context.health.increment(name, "frames")
        self._context.health.touch(name, "frame", self._context.clock.now_ns())
        if camera is not None and not self._order.accepts(camera, frame.header):
            return
        if self.live and len(frame.persons) > MAX_PEOPLE:
            frame = self._without_excess(frame)
        frame = self._cleaner.clean(frame)
        if camera is None or camera.size_wh != frame.size_wh:
            self._listener.on_camera(name, frame.size_wh)
        if camera is None:
            context = dataclasses.replace(self._context, name=name)
            camera = CameraStages(
                frame.size_wh,
                self._config,
                self._lifter_input,
                self.live,
                context,
                self._people_limit,
                self._log,
            )
            self._cameras[name] = camera
        camera.push(frame)
        self._listener.on_frames()

    def _may_use(self, camera: str) -> bool:
        """Whether the name of a frame's camera is free or belongs to this source."""
        if self._names.claim(camera, self.name, self._context.clock.now_ns()):
            return True
        self._context.health.increment(self.name, "drop.name_taken")
        self._log.warning(
            "name_taken",
            "%s: dropped a frame of %s, because another source has this name; give the camera another name",
            *(self.name, camera),
        )
        return False

    def _has_room(self) -> bool:
        """Whether one more camera fits, if need be in place of the camera that was silent for longest."""
        if len(self._cameras) < _MAX_CAMERAS:
            return True
        oldest = min(self._cameras, key=lambda name: self._cameras[name].heard_ns)
        silence_ns = self._context.clock.now_ns() - self._cameras[oldest].heard_ns
        if silence_ns > SILENT_S * 1e9 and oldest != self.name:
            self._cameras = {name: camera for name, camera in self._cameras.items() if name != oldest}
            self._names.release(oldest)
            self._context.health.merge(oldest, self.name)
            return True
        self._context.health.increment(self.name, "drop.too_many_cameras")
        self._log.warning(
            "too_many_cameras",
            "%s: %d cameras send already; a further camera has to wait until one is silent for %.0f s",
            *(self.name, _MAX_CAMERAS, SILENT_S),
        )
        return False

    def _without_excess(self, frame: KeypointFrame) -> KeypointFrame:
        excess = len(frame.persons) - MAX_PEOPLE
        self._context.health.increment(frame.header.source, "ignored_people", excess)
        self._log.warning(
            "crowd",
            "%s: %d people in a frame are ignored, beyond %d",
            frame.header.source,
            excess,
            MAX_PEOPLE,
        )
        return dataclasses.replace(frame, persons=frame.persons[:MAX_PEOPLE])

    def _expire(self) -> None:
        """Lose the people of silent cameras, also while other cameras of the source are busy."""
        now_ns = self._context.clock.now_ns()
        if now_ns < self._last_check_ns + _TICK_S * 1e9:
            return
        self._last_check_ns = now_ns
        for camera in self._cameras.values():
            if camera.expire(now_ns):
                self._listener.on_frames()
