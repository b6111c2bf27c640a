"""The thread of a source: reads keypoints, cleans and tracks them, and fills a buffer per camera."""

import dataclasses
import logging
import threading
from typing import Protocol

from stream.config.load import Config
from stream.errors import EndOfStream
from stream.messages import Header, KeypointFrame
from stream.protocols import ComponentContext, Source, opened
from stream.runtime.camera_stages import CameraStages, LifterInput
from stream.tracking import association
from stream.tracking.clean import Cleaner
from stream.windows.camera_buffer import CameraBuffer

log = logging.getLogger("poselift")

_TICK_S = 0.1  # how soon the thread notices a stop
_MAX_CAMERAS = 256  # behind one network source, so that a sender of ever new names cannot exhaust the memory
_CLOCK_RESET_NS = 1_000_000_000  # a frame further back than this is not late: the camera's clock was set back


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
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        lifter_input: LifterInput,
        context: ComponentContext,
        listener: SourceListener,
    ) -> None:
        self.name = context.name
        self._source = source
        self._config = config
        self._lifter_input = lifter_input
        self._context = context
        self._listener = listener
        self._cleaner = Cleaner(lifter_input.skeleton, config.lifter.min_score, context.health)
        self._cameras: dict[str, CameraStages] = {}
        association.warm_up()
        self._stop = threading.Event()
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

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, whose buffers no longer make it wait; False when it did not end in time."""
        for buffer in self.buffers:
            buffer.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        health = self._context.health
        try:
            with opened(self._source):
                while not self._stop.is_set():
                    health.touch(self._thread.name, "loop", self._context.clock.now_ns())
                    frame = self._source.read(_TICK_S)
                    if frame is not None:
                        self._push(self._cleaner.clean(frame))
                    if self._source.live:
                        self._expire()
        except EndOfStream:
            self._finish()
        except Exception as error:
            self._listener.on_error(self.name, error)
        finally:
            for buffer in self.buffers:
                buffer.end()
            self._ended = True
            health.forget(self._thread.name, "loop")
            self._listener.on_frames()

    def _finish(self) -> None:
        for camera in self._cameras.values():
            camera.finish()
            if self._source.live:  # other sources may go on, while no later frame can lose these people
                camera.restart(self._context.clock.now_ns())
        self._context.health.set_state(self.name, "ended")
        log.info("%s: ended", self.name)

    def _push(self, frame: KeypointFrame) -> None:
        name = frame.header.source
        self._context.health.increment(name, "frames")
        self._context.health.touch(name, "frame", self._context.clock.now_ns())
        camera = self._cameras.get(name)
        if camera is not None and not self._in_order(camera, frame.header):
            return
        if camera is None or camera.size_wh != frame.size_wh:
            if camera is None and len(self._cameras) >= _MAX_CAMERAS:
                self._context.health.increment(self.name, "drop.too_many_cameras")
                return
            self._listener.on_camera(name, frame.size_wh)
        if camera is None:
            context = dataclasses.replace(self._context, name=name)
            camera = CameraStages(frame.size_wh, self._config, self._lifter_input, self.live, context)
            self._cameras[name] = camera
        camera.push(frame)
        self._listener.on_frames()

    def _in_order(self, camera: CameraStages, header: Header) -> bool:
        """Whether a frame is newer than the frames before; a camera whose clock was set back starts anew."""
        if camera.newest is None:
            return True
        sender_step_ns = header.captured_unix_ns - camera.newest.captured_unix_ns
        duplicate = sender_step_ns == 0
        # Captures of a sender whose clock is ahead count as of now; then only its own times have the order.
        step_ns = min(header.captured_ns - camera.newest.captured_ns, sender_step_ns)
        if step_ns < -_CLOCK_RESET_NS:
            log.warning(
                "%s: the clock went back by %.1f s; tracking starts anew", header.source, -step_ns / 1e9
            )
            self._context.health.increment(header.source, "clock_back")
            camera.restart(self._context.clock.now_ns())
        elif duplicate or step_ns <= 0:
            reason = "drop.duplicate" if duplicate or step_ns == 0 else "drop.out_of_order"
            self._context.health.increment(header.source, reason)
            return False
        return True

    def _expire(self) -> None:
        """Lose the people of silent cameras, also while other cameras of the source are busy."""
        now_ns = self._context.clock.now_ns()
        if now_ns < self._last_check_ns + _TICK_S * 1e9:
            return
        self._last_check_ns = now_ns
        for camera in self._cameras.values():
            if camera.expire(now_ns):
                self._listener.on_frames()
