"""The daemon: a thread per source, one for lifting, one per sink, and the way of a frame between them.

source.read -> convert -> track -> Intake (rings) -> Lifting -> PoseFrame -> Outlets (sinks)
"""

import dataclasses
import logging
import threading
import uuid
from collections.abc import Callable

import msgspec
import numpy as np

from lifter import load
from sources.detected import Detected
from sources.reconnecting import Reconnecting
from stream import skeletons
from stream.clock import Clock, SystemClock
from stream.config import Config, Part
from stream.context import Context
from stream.emit import Emitter
from stream.errors import ConfigError, EndOfStream, PoseliftError
from stream.fanout import Outlet
from stream.finish import Finish, Step, WithoutKeypoints
from stream.health import Health
from stream.intake import Intake
from stream.lifting import Lifting
from stream.messages import KeypointFrame, Keypoints, Message, Meta, Mode, ModelInfo, Status
from stream.protocols import Sink, Source
from stream.space import Space
from stream.steady import Steady
from stream.swaps import Swaps
from stream.tracker import Tracker

log = logging.getLogger("poselift")

_TICK_S = 0.1  # how soon a waiting thread notices a stop
_FLUSH_S = 0.5  # how long a stop may go on lifting
_JOIN_S = 1.0  # how long a stop waits for the sources and the lifter, and again for the sinks
_MOST_CAMERAS = 256  # behind one network source; a sender of ever new names must not eat the memory


@dataclasses.dataclass(frozen=True, slots=True)
class _Camera:
    """What the keypoints of one camera pass on their way."""

    tracker: Tracker
    swaps: Swaps | None
    intake: Intake

    def accept(self, frames: list[KeypointFrame]) -> None:
        for frame in frames:
            self.intake.accept(self.swaps.update(frame) if self.swaps else frame)


class Pipeline:
    """A running config: enter to start, `wait` for the sources to end, leave to stop and flush.

    Raises ConfigError at construction when the parts do not fit together.
    """

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.health = Health()
        self.session = str(uuid.uuid4())
        self._error: Exception | None = None
        settings = config.lifter
        self.lifter = load(
            settings.weights, device=settings.device, dtype=settings.dtype, threads=settings.threads
        )
        self.spec = self.lifter.spec
        self._lag = self.spec.frames // 2 if settings.lag == "half" else settings.lag
        _check(self.spec, settings.hop, self._lag)
        self.sources = {name: self._source(part) for name, part in config.sources.items()}
        self.lossless = not any(source.live for source in self.sources.values())
        # One network source may bring the keypoints of many cameras, each with an intake of its own.
        self.intakes: dict[tuple[str, str], Intake] = {}
        self.outlets = {
            name: Outlet(name, self._sink(part), self.clock, self.health, self.lossless)
            for name, part in config.sinks.items()
        }
        self._model = ModelInfo(self.spec.name, self.spec.sha256)
        self._lifting = Lifting(
            self.lifter, self._emitter(), settings.hop, self._finish(), self.clock, self.health, self._send
        )
        self._sizes: dict[str, tuple[int, int]] = {}
        self._running = set(self.sources)
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._run_source, args=(name,), name=f"source:{name}", daemon=True)
            for name in self.sources
        ]
        self._threads.append(threading.Thread(target=self._run_lift, name="lift", daemon=True))

    def _emitter(self) -> Emitter:
        mode: Mode = "offline" if self.lossless else "fixed" if self._lag else "live"
        return Emitter(self.spec.skeleton, self._model, self.session, mode, self._lag)

    def _finish(self) -> Finish:
        def steps(source: str, size_wh: tuple[int, int]) -> list[Step]:
            chosen: list[Step] = [Steady(self.config.steady, self._context(source))]
            if self.config.space.enabled:
                chosen.append(Space(self.config.space, source, size_wh))
            if not self.config.lifter.kp2d:
                chosen.append(WithoutKeypoints())
            return chosen

        return Finish(steps)

    def _context(self, name: str) -> Context:
        return Context(name, self.config.node, self.session, self.clock, self.health)

    def _source(self, part: Part) -> Source:
        context = self._context(part.name)

        def make() -> Source:
            source = part.make(part.settings, context)
            if part.detector is None:
                return source
            return Detected(source, part.detector.make(part.detector.settings, context), context)

        return Reconnecting(make, context)

    def _sink(self, part: Part) -> Callable[[], Sink]:
        return lambda: part.make(part.settings, self._context(part.name))

    # Life

    def __enter__(self) -> "Pipeline":
        self.lifter.warm_up()
        for outlet in self.outlets.values():
            outlet.start()
        for thread in self._threads:
            thread.start()
        return self

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all sources have ended and everything is lifted; False after `timeout_s`."""
        return self._done.wait(timeout_s)

    def announce(self) -> None:
        """Tell late joiners what each source is; called about once a second."""
        for name, size_wh in list(self._sizes.items()):
            self._send(self._meta(name, size_wh))

    def status(self) -> Status:
        """The node's health now, also sent to the sinks."""
        status = Status(self.config.node, self.session, self.clock.unix_ns(), self.health.report())
        self._send(status)
        return status

    def stop(self) -> None:
        """Ask everything to end; returns at once and may be called from a signal handler."""
        self._stop.set()
        self._arrived.set()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        for intake in list(self.intakes.values()):
            intake.close()
        until_ns = self.clock.now_ns() + round(_JOIN_S * 1e9)
        for thread in self._threads:
            thread.join(self._left_s(until_ns))
        late = [thread.name for thread in self._threads if thread.is_alive()]
        for outlet in self.outlets.values():
            outlet.close(0.0)  # all at once; then wait
        until_ns = self.clock.now_ns() + round(_JOIN_S * 1e9)
        late += [
            f"sink:{name}" for name, out in self.outlets.items() if not out.close(self._left_s(until_ns))
        ]
        if late:
            log.warning("did not end in time: %s", ", ".join(late))

    def _left_s(self, until_ns: int) -> float:
        return max(0.001, (until_ns - self.clock.now_ns()) / 1e9)

    @property
    def error(self) -> Exception | None:
        """What ended the run early, or a sink before it; None when all went well."""
        return self._error or next((out.error for out in self.outlets.values() if out.error), None)

    # Threads

    def _run_source(self, name: str) -> None:
        source = self.sources[name]
        cameras: dict[str, _Camera] = {}
        try:
            with source:
                while not self._stop.is_set():
                    frame = source.read(_TICK_S)
                    if frame is not None:
                        self._accept(name, self._convert(frame), cameras)
                    elif source.live:
                        self._expire(name)
        except EndOfStream:
            for camera in cameras.values():
                camera.accept(camera.tracker.end())
            self.health.state(name, "ended")
            log.info("%s: ended", name)
        except Exception as error:
            self._fail(name, error)
        finally:
            for intake in self._intakes_of(name):
                intake.end()
            self._running.discard(name)
            self._arrived.set()

    def _convert(self, frame: KeypointFrame) -> KeypointFrame:
        """The frame in the lifter's skeleton, joints below the least score counting as not seen."""
        persons = tuple(
            _trusted(
                skeletons.convert(person, frame.skeleton, self.spec.skeleton), self.config.lifter.min_score
            )
            for person in frame.persons
        )
        return dataclasses.replace(frame, skeleton=self.spec.skeleton, persons=persons)

    def _accept(self, name: str, frame: KeypointFrame, cameras: dict[str, _Camera]) -> None:
        camera = frame.header.source
        self.health.count(camera, "frames")
        if camera not in cameras:
            if len(cameras) >= _MOST_CAMERAS:
                self.health.count(name, "drop.too_many_cameras")
                return
            cameras[camera] = self._camera(camera, self.sources[name].live)
            self.intakes[name, camera] = cameras[camera].intake
        if self._sizes.get(camera) != frame.size_wh:
            self._sizes[camera] = frame.size_wh
            self._send(self._meta(camera, frame.size_wh))  # before the first pose
        cameras[camera].accept(cameras[camera].tracker.update(frame))
        self._arrived.set()

    def _camera(self, name: str, live: bool) -> _Camera:
        people, predict_s = self.config.people, self.config.lifter.predict_s
        # Whoever is still predicted must not come back as somebody else.
        people = msgspec.structs.replace(people, max_missing_s=max(people.max_missing_s, predict_s))
        swaps = Swaps(self.spec.skeleton, self._context(name)) if self.config.steady.swaps else None
        intake = Intake(name, self.spec.frames, not live, predict_s, self.health)
        return _Camera(Tracker(people, patient=not live), swaps, intake)

    def _expire(self, name: str) -> None:
        for intake in self._intakes_of(name):
            if intake.expire(self.clock.now_ns()):
                self._arrived.set()

    def _intakes_of(self, name: str) -> list[Intake]:
        return [intake for (source, _), intake in list(self.intakes.items()) if source == name]

    def _run_lift(self) -> None:
        try:
            while not self._stop.is_set() and not self._drained:
                self._arrived.wait(_TICK_S)
                self._arrived.clear()
                while not self._stop.is_set() and self._lifting.once(list(self.intakes.values())):
                    pass
            self._lift_the_rest()
        except Exception as error:
            self._fail("lift", error)
        finally:
            self._done.set()

    def _lift_the_rest(self) -> None:
        """After a stop, publish what was seen and not lifted yet, as far as time allows."""
        until_ns = self.clock.now_ns() + round(_FLUSH_S * 1e9)
        while not self._drained and self.clock.now_ns() < until_ns:
            if not self._lifting.once(list(self.intakes.values())):
                self._arrived.wait(0.01)  # a source is still handing over its last frame
                self._arrived.clear()

    @property
    def _drained(self) -> bool:
        return not self._running and all(intake.finished for intake in list(self.intakes.values()))

    def _fail(self, name: str, error: Exception) -> None:
        """Nothing sensible can go on without this part: keep the reason and end the run."""
        if not isinstance(error, PoseliftError):
            log.error("%s failed", name, exc_info=error)
        self.health.state(name, "failed", str(error))
        self._error = self._error or error
        self.stop()

    def _send(self, message: Message) -> None:
        for outlet in self.outlets.values():
            outlet.send(message)
        if all(outlet.error for outlet in self.outlets.values()):
            self.stop()  # nobody is left to send to

    def _meta(self, name: str, size_wh: tuple[int, int]) -> Meta:
        skeleton = skeletons.get(self.spec.skeleton)
        return Meta(
            source=name,
            session=self.session,
            skeleton=skeleton.name,
            joints=skeleton.joints,
            parents=skeleton.parents,
            flip_pairs=skeleton.flip_pairs,
            size_wh=size_wh,
            frame_id=f"{name}_optical_frame",
            units="m",
            model=self._model,
        )


def _trusted(person: Keypoints, min_score: float) -> Keypoints:
    weak = person.score < min_score
    if not weak.any():
        return person
    xy, score = person.xy.copy(), person.score.copy()
    xy[weak], score[weak] = np.nan, 0.0
    return dataclasses.replace(person, xy=xy, score=score)


def _check(spec: object, hop: int | str, lag: int) -> None:
    """Refuse what cannot be lifted live."""
    frames, output, name = (getattr(spec, field) for field in ("frames", "output", "name"))
    if output != "sequence":
        raise ConfigError(
            f"lifter.weights: {name} gives only the middle of {frames} frames, {frames // 2} frames late; "
            "live lifting needs weights that give the whole sequence (see `poselift models`)"
        )
    if lag >= frames:
        raise ConfigError(f"lifter.lag: expected less than the window of {frames} frames, got {lag}")
    if isinstance(hop, int) and hop > frames - lag:
        raise ConfigError(
            f"lifter.hop: expected at most {frames - lag} frames, the window of {frames} less the lag "
            f"of {lag}, got {hop}"
        )
