"""A running config: builds, starts and stops the threads of its sources, its lifter and its sinks.

source thread: read, clean, track, repair left/right, lifecycle -> camera buffers
lift thread:   windows -> poses -> post-processing -> pose frames
sink threads:  pose frames, meta and status messages -> subscribers
"""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lifter import load, weights_path
from lifter.weights import read_spec
from sinks import ROTATION_SINKS
from sources.reconnecting import Numbering, ReconnectingSource
from stream import skeletons
from stream.cameras.registry import Cameras
from stream.clock import Clock, SystemClock
from stream.config.lifter import LifterSettings
from stream.config.load import ComponentConfig, Config
from stream.errors import PoseliftError
from stream.health import Health
from stream.messages import Message, Meta, Mode, ModelInfo, PoseFrame, Status
from stream.postprocess.assemble import FrameAssembler, Publisher
from stream.postprocess.batch import PostProcessor
from stream.postprocess.joint_rotations import RIG_INFO, JointRotations
from stream.postprocess.smoothing import Smoother
from stream.protocols import ComponentContext, Sink
from stream.rate_limited_log import RateLimitedLog
from stream.runtime.batch_lifter import BatchLifter
from stream.runtime.camera_names import CameraNames
from stream.runtime.camera_stages import LifterInput
from stream.runtime.lift_thread import LiftThread
from stream.runtime.lifter_client import RemoteLifter
from stream.runtime.sink_thread import QUEUE, SinkThread
from stream.runtime.source_changes import CameraTables, LateListener, SourceChanges, make_source
from stream.runtime.source_set import SourceSet
from stream.runtime.source_thread import SourceListener, SourceThread
from stream.scene.root_position import RootPosition
from stream.scene.world_frame import CameraPlacements, WorldFrame
from stream.snapshots import Snapshots

if TYPE_CHECKING:
    from lifter.mean_lifter import MeanLifter
    from lifter.runner import Runner

log = logging.getLogger("poselift")

_STOP_S = 1.0  # how long a stop waits for the sources and the lifter, and again for the sinks
_METAS_IN_A_ROW, _META_PAUSE_S = 16, 0.005  # sinks send in the pauses, so that metas displace no poses


def load_lifter(settings: LifterSettings) -> "Runner | RemoteLifter":
    """The lifter of a config. Raises ConfigError, and CheckpointError for a damaged file."""
    if settings.endpoint is not None:
        spec = read_spec(weights_path(settings.weights))
        return RemoteLifter(settings, spec, load_here(settings) if settings.fallback == "local" else None)
    return load_here(settings)


def load_here(settings: LifterSettings) -> "Runner":
    """The lifter of a config, in this process, whether or not it names a lifter service."""
    return load(
        settings.weights,
        device=settings.device,
        dtype=settings.dtype,
        threads=settings.threads,
        engine=settings.engine,
    )


def needs_rotations(config: Config) -> bool:
    """Whether poses are published with joint rotations; `auto` asks for them when a sink needs them."""
    wanted = config.lifter.rotations
    if wanted == "auto":
        return any(sink.type in ROTATION_SINKS for sink in config.sinks.values())
    return wanted


class Pipeline:
    """A running config: enter to start, `wait` for the sources to end, leave to stop and flush.

    lifter: None loads that of the config. post_processors: steps of your own, which change lifted poses after
    smoothing and before people are placed in the scene. Raises ConfigError at construction when the
    components do not fit together.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock | None = None,
        lifter: "Runner | MeanLifter | RemoteLifter | None" = None,
        post_processors: Sequence[PostProcessor] = (),
    ) -> None:
        self.config = config
        self._own_post_processors = post_processors
        self.clock = clock or SystemClock()
        self.health = Health()
        self._snapshots = Snapshots()
        self.session = str(uuid.uuid4())
        self._error: Exception | None = None
        self.lifter = lifter or load_lifter(config.lifter)
        if isinstance(self.lifter, RemoteLifter):
            self.lifter.count_in(self._context("lift"))
        self.spec = self.lifter.spec
        config.lifter.check(self.spec)
        self._model = ModelInfo(self.spec.name, self.spec.sha256)
        self._cameras = Cameras(config.scene.cameras, config.scene.fov_deg)
        # Subscribers get a camera's placement before the first pose that depends on it.
        self._placements = CameraPlacements(config.scene.world.camera_pose)
        self._with_rotations = needs_rotations(config)
        self._names = CameraNames(config.sources)
        self._log = RateLimitedLog(self.clock)
        self._world: WorldFrame | None = None
        self._numberings: dict[str, Numbering] = {}  # by source, also of removed ones that may come back
        self.source_threads = SourceSet(
            [self._source_thread(component, self) for component in config.sources.values()]
        )
        self._source_changes = self._changes()
        self.lossless = not any(source.live for source in self.source_threads)
        self.sink_threads = {name: self._sink_thread(component) for name, component in config.sinks.items()}
        self._batches = self._batch_lifter()
        self._lift_thread = LiftThread(
            self._batches,
            self.source_threads,
            self.clock,
            self.on_error,
            self.on_lift_turn,
            gather=not self.lossless,
        )

    def _context(self, name: str) -> ComponentContext:
        return ComponentContext(
            name, self.config.node, self.session, self.clock, self.health, self._snapshots
        )

    def _changes(self) -> SourceChanges:
        late = LateListener(self, self.health)
        tables = CameraTables(self._names, self._cameras, self._placements)
        return SourceChanges(
            self.config,
            self.source_threads,
            partial(self._source_thread, listener=late),
            tables,
            self.health,
            self.status,
        )

    def _source_thread(self, component: ComponentConfig, listener: SourceListener) -> SourceThread:
        context = self._context(component.name)

        timing = self.config.lifter.timing(self.spec.rate_hz)
        lifter_input = LifterInput(self.spec.skeleton, self.spec.frames, timing)
        numbering = self._numberings.setdefault(component.name, Numbering())
        source = ReconnectingSource(partial(make_source, component, context), context, numbering=numbering)
        return SourceThread(source, self.config, lifter_input, context, listener, self._names)

    def _sink_thread(self, component: ComponentConfig) -> SinkThread:
        def make() -> Sink:
            sink: Sink = component.make(component.settings, self._context(component.name))
            return sink

        # A slow machine publishes up to a whole window in one burst.
        timing = self.config.lifter.timing(self.spec.rate_hz)
        queue_size = timing.max_captured_frames(self.spec.frames) + QUEUE
        return SinkThread(
            component.name, make, self.clock, self.health, self.lossless, queue_size, self.on_error
        )

    def _batch_lifter(self) -> BatchLifter:
        settings, context = self.config.lifter, self._context("lift")
        lag = settings.lag_frames(self.spec.frames)
        mode: Mode = "offline" if self.lossless else "fixed" if lag else "live"
        assembler = FrameAssembler(self.spec.skeleton, self._model, self.session, mode, lag, settings.kp2d)
        return BatchLifter(
            self.lifter,
            Publisher(assembler, self._post_processors(context), self._send_lifted, context, self._meta),
            settings.hop,
            settings.blend_frames(lag),
            context,
            partial(self._cameras.to_assumed, focal=self.spec.focal),
            settings.max_age_ms,
        )

    def _post_processors(self, context: ComponentContext) -> list[PostProcessor]:
        smoothing, scene, steps = self.config.smoothing, self.config.scene, list[PostProcessor]()
        if smoothing.one_euro is not None or smoothing.bones:
            steps.append(Smoother(smoothing, context))
        steps += self._own_post_processors
        if scene.enabled:
            steps.append(RootPosition(scene, self._cameras))
            self._world = WorldFrame(scene.world, scene.contact, context, self._placements)
            steps.append(self._world)
        if self._with_rotations:
            steps.append(JointRotations())  # last: they depend on the final axes
        return steps

    # Life

    def __enter__(self) -> "Pipeline":
        self.lifter.warm_up()
        for sink in self.sink_threads.values():
            sink.start()
        for source in self.source_threads:
            source.start()
        self._lift_thread.start()
        return self

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all sources have ended and all frames are lifted; False after `timeout_s`."""
        return self._lift_thread.wait(timeout_s)

    def change_sources(self, config: Config) -> None:
        """Open and close sources so that they are those of `config`; the other sources go on.

        Sources with other settings, or another camera of their name in `scene`, are closed and opened again.
        All other settings of `config` are ignored. Raises PoseliftError, with nothing changed, for a source
        that cannot be made. For the thread that runs the pipeline.
        """
        self._source_changes.change(config)
        self.config = self._source_changes.config

    def announce(self) -> None:
        """Send the meta message of every camera, for late joiners; called about once a second."""
        self._source_changes.settle()
        cameras = [camera for source in self.source_threads for camera in source.sizes_wh.items()]
        for count, (camera, size_wh) in enumerate(cameras, start=1):
            self._send(self._meta(camera, size_wh))
            if count % _METAS_IN_A_ROW == 0:
                self.wait(_META_PAUSE_S)

    def status(self) -> Status:
        """The node's health now, also sent to the sinks."""
        status = Status(self.config.node, self.session, self.clock.unix_ns(), self.health.report())
        self._send(status)
        return status

    def stop(self) -> None:
        """Make all threads end; returns at once and may be called from a signal handler."""
        for source in self.source_threads:
            source.stop()
        self._lift_thread.stop()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        until_ns = self.clock.now_ns() + round(_STOP_S * 1e9)
        still_running = [
            f"source:{source.name}"
            for source in self.source_threads
            if not source.join(self._remaining_s(until_ns))
        ]
        still_running += [] if self._lift_thread.join(self._remaining_s(until_ns)) else ["lift"]
        for sink in self.sink_threads.values():
            sink.close(0.0)  # all at once; then wait
        until_ns = self.clock.now_ns() + round(_STOP_S * 1e9)
        still_running += [
            f"sink:{name}"
            for name, sink in self.sink_threads.items()
            if not sink.close(self._remaining_s(until_ns))
        ]
        if still_running:
            log.warning("did not end in time: %s", ", ".join(still_running))

    def _remaining_s(self, until_ns: int) -> float:
        return max(0.001, (until_ns - self.clock.now_ns()) / 1e9)

    @property
    def error(self) -> Exception | None:
        """What ended the run early, or ended a sink; None when all went well."""
        return self._error or next((sink.error for sink in self.sink_threads.values() if sink.error), None)

    # Events of the threads

    def on_camera(self, camera: str, size_wh: tuple[int, int]) -> None:
        self._send(self._meta(camera, size_wh))  # before the first pose

    def on_frames(self) -> None:
        self._lift_thread.wake()

    def on_lift_turn(self) -> None:
        self.health.touch("lift", "loop", self.clock.now_ns())
        if self.source_threads.removing and not self._batches.busy:
            self.source_threads.take_out_drained(self._forget_floors)

    def _forget_floors(self, source: SourceThread) -> None:
        if self._world is not None:
            for camera in source.sizes_wh:
                self._world.forget(camera)

    def on_error(self, component: str, error: Exception) -> None:
        """Keep the reason and end the run: it cannot go on without a source, the lifter or an address."""
        if not isinstance(error, PoseliftError):
            log.error("%s failed", component, exc_info=error)
        self.health.set_state(component, "failed", str(error))
        self._error = self._error or error
        self.stop()

    # Messages

    def _send_lifted(self, message: PoseFrame | Meta) -> None:
        """Send a message of the lift thread, unless its poses became too old while they were lifted."""
        max_age_ms = self.config.lifter.max_age_ms
        if isinstance(message, PoseFrame) and message.mode == "live" and max_age_ms is not None:
            age_ms = (self.clock.now_ns() - message.header.captured_ns) / 1e6
            if age_ms > max_age_ms:
                self.health.increment(message.header.source, "drop.too_old")
                self._log.warning(
                    "too_old",
                    "%s: poses are %.0f ms old once lifted, more than lifter.max_age_ms, and dropped; "
                    "use smaller weights, or publish fewer people (tracking.persons)",
                    *(message.header.source, age_ms),
                )
                lost = tuple(person for person in message.persons if person.state == "lost")
                if not lost:
                    return
                message = replace(message, persons=lost)  # robots must learn of them
        self._send(message)

    def _send(self, message: Message) -> None:
        for sink in self.sink_threads.values():
            sink.send(message)
        if all(sink.error for sink in self.sink_threads.values()):
            self.stop()  # no sink is left to send to

    def _meta(self, camera: str, size_wh: tuple[int, int]) -> Meta:
        skeleton = skeletons.skeleton_named(self.spec.skeleton)
        scene, extrinsics = self.config.scene, self._placements.get(camera)
        return Meta(
            source=camera,
            session=self.session,
            skeleton=skeleton.name,
            joints=skeleton.joints,
            parents=skeleton.parents,
            flip_pairs=skeleton.flip_pairs,
            size_wh=size_wh,
            frame_id=extrinsics.frame_id if extrinsics else f"{camera}_optical_frame",
            units="m",
            model=self._model,
            intrinsics=self._cameras.get(camera, size_wh).intrinsics if scene.enabled else None,
            extrinsics=extrinsics,
            rig=RIG_INFO if self._with_rotations else None,
        )
