"""The daemon: a thread per source, one for lifting, one per sink, and the way of a frame between them.

source.read -> convert -> track -> Intake (rings) -> LiftThread -> PoseFrame -> Outlets (sinks)
"""

import logging
import threading
import uuid
from collections.abc import Callable
from functools import partial

from lifter import load
from sources.detected import DetectorSource
from sources.reconnecting import ReconnectingSource
from stream import skeletons
from stream.cameras.registry import Cameras
from stream.clock import Clock, SystemClock
from stream.config.load import ComponentConfig, Config
from stream.errors import PoseliftError
from stream.health import Health
from stream.messages import Message, Meta, Mode, ModelInfo, Status
from stream.postprocess.assemble import FrameAssembler, Publisher
from stream.postprocess.batch import PostProcessor
from stream.postprocess.smoothing import Smoother
from stream.protocols import ComponentContext, Sink, Source
from stream.runtime.lift_thread import LiftThread
from stream.runtime.sink_thread import SinkThread
from stream.runtime.source_thread import LifterInput, SourceThread
from stream.scene.root_position import RootPosition
from stream.scene.world_frame import CameraPlacements, WorldFrame

log = logging.getLogger("poselift")

_TICK_S = 0.1  # how soon a waiting thread notices a stop
_FLUSH_S = 0.5  # how long a stop may go on lifting
_JOIN_S = 1.0  # how long a stop waits for the sources and the lifter, and again for the sinks


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
            settings.weights,
            device=settings.device,
            dtype=settings.dtype,
            threads=settings.threads,
            engine=settings.engine,
        )
        self.spec = self.lifter.spec
        settings.check(self.spec)
        self._lag = settings.lag_frames(self.spec.frames)
        self.feeds = [self._feed(part) for part in config.sources.values()]
        self.lossless = not any(feed.live for feed in self.feeds)
        # A slow machine publishes up to a whole window in one burst.
        room = settings.timing(self.spec.rate_hz).room(self.spec.frames) + 64
        self.outlets = {
            name: SinkThread(name, self._sink(part), self.clock, self.health, self.lossless, room)
            for name, part in config.sinks.items()
        }
        self._cameras = Cameras(config.scene.cameras, config.scene.fov_deg)
        # Whoever listens learns where a camera stands before the first pose that rests on it.
        self._worlds = CameraPlacements(config.scene.world, lambda *source: self._send(self._meta(*source)))
        self._model = ModelInfo(self.spec.name, self.spec.sha256)
        context = self._context("lift")
        self._lifting = LiftThread(
            self.lifter,
            Publisher(self._emitter(), self._steps(), self._send, context),
            settings.hop,
            settings.blend_frames(self._lag),
            context,
            partial(self._cameras.to_assumed, focal=self.spec.focal),
        )
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lift", daemon=True)

    def _emitter(self) -> FrameAssembler:
        mode: Mode = "offline" if self.lossless else "fixed" if self._lag else "live"
        kp2d = self.config.lifter.kp2d
        return FrameAssembler(self.spec.skeleton, self._model, self.session, mode, self._lag, kp2d)

    def _steps(self) -> list[PostProcessor]:
        smoothing, scene, steps = self.config.smoothing, self.config.scene, list[PostProcessor]()
        if smoothing.one_euro is not None or smoothing.bones:
            steps.append(Smoother(smoothing, self._context("lift")))
        if scene.enabled:
            steps.append(RootPosition(scene))
            steps.append(WorldFrame(scene.world, scene.contact, self._context("lift"), self._worlds))
        return steps

    def _context(self, name: str) -> ComponentContext:
        return ComponentContext(name, self.config.node, self.session, self.clock, self.health)

    def _feed(self, part: ComponentConfig) -> SourceThread:
        context = self._context(part.name)

        def make() -> Source:
            source = part.make(part.settings, context)
            if part.detector is None:
                return source
            return DetectorSource(source, part.detector.make(part.detector.settings, context), context)

        pace = self.config.lifter.timing(self.spec.rate_hz)
        wanted = LifterInput(self.spec.skeleton, self.spec.frames, pace)
        return SourceThread(ReconnectingSource(make, context), self.config, wanted, context, self)

    def _sink(self, part: ComponentConfig) -> Callable[[], Sink]:
        return lambda: part.make(part.settings, self._context(part.name))

    # Life

    def __enter__(self) -> "Pipeline":
        self.lifter.warm_up()
        for outlet in self.outlets.values():
            outlet.start()
        for feed in self.feeds:
            feed.start()
        self._thread.start()
        return self

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all sources have ended and everything is lifted; False after `timeout_s`."""
        return self._done.wait(timeout_s)

    def announce(self) -> None:
        """Tell late joiners what each source is; called about once a second."""
        for feed in self.feeds:
            for camera, size_wh in feed.sizes.items():
                self._send(self._meta(camera, size_wh))

    def status(self) -> Status:
        """The node's health now, also sent to the sinks."""
        status = Status(self.config.node, self.session, self.clock.unix_ns(), self.health.report())
        self._send(status)
        return status

    def stop(self) -> None:
        """Ask everything to end; returns at once and may be called from a signal handler."""
        for feed in self.feeds:
            feed.stop()
        self._stop.set()
        self._arrived.set()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        until_ns = self.clock.now_ns() + round(_JOIN_S * 1e9)
        late = [f"source:{feed.name}" for feed in self.feeds if not feed.join(self._left_s(until_ns))]
        self._thread.join(self._left_s(until_ns))
        late += ["lift"] if self._thread.is_alive() else []
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

    # What the feeds tell

    def seen(self, camera: str, size_wh: tuple[int, int]) -> None:
        self._send(self._meta(camera, size_wh))  # before the first pose

    def arrived(self) -> None:
        self._arrived.set()

    def failed(self, part: str, error: Exception) -> None:
        """Nothing sensible can go on without this part: keep the reason and end the run."""
        if not isinstance(error, PoseliftError):
            log.error("%s failed", part, exc_info=error)
        self.health.set_state(part, "failed", str(error))
        self._error = self._error or error
        self.stop()

    # The lift thread

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self._drained:
                self._arrived.wait(_TICK_S)
                self._arrived.clear()
                while not self._stop.is_set() and self._lift():
                    pass
            self._lift_the_rest()
        except Exception as error:
            self.failed("lift", error)
        finally:
            self._done.set()

    def _lift(self) -> bool:
        return self._lifting.once([intake for feed in self.feeds for intake in feed.intakes])

    def _lift_the_rest(self) -> None:
        """After a stop, publish what was seen and not lifted yet, as far as time allows."""
        until_ns = self.clock.now_ns() + round(_FLUSH_S * 1e9)
        while (self._lifting.busy or not self._drained) and self.clock.now_ns() < until_ns:
            if not self._lift():
                self._arrived.wait(0.01)  # a source is still handing over its last frame
                self._arrived.clear()

    @property
    def _drained(self) -> bool:
        return all(feed.drained for feed in self.feeds)

    def _send(self, message: Message) -> None:
        for outlet in self.outlets.values():
            outlet.send(message)
        if all(outlet.error for outlet in self.outlets.values()):
            self.stop()  # nobody is left to send to

    def _meta(self, name: str, size_wh: tuple[int, int]) -> Meta:
        skeleton = skeletons.skeleton_named(self.spec.skeleton)
        scene, place = self.config.scene, self._worlds.of(name)
        return Meta(
            source=name,
            session=self.session,
            skeleton=skeleton.name,
            joints=skeleton.joints,
            parents=skeleton.parents,
            flip_pairs=skeleton.flip_pairs,
            size_wh=size_wh,
            frame_id=place.frame_id if place else f"{name}_optical_frame",
            units="m",
            model=self._model,
            intrinsics=self._cameras.get(name, size_wh).intrinsics if scene.enabled else None,
            extrinsics=place,
        )
