"""Opens and closes sources of a running pipeline; the other sources go on without a gap."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sources.detected import DetectorSource
from stream.cameras.registry import Cameras
from stream.config.difference import Difference, difference
from stream.config.load import ComponentConfig, Config
from stream.errors import ConfigError, PoseliftError
from stream.health import Health
from stream.protocols import ComponentContext, Detector, FrameSource, Source
from stream.runtime.camera_names import CameraNames
from stream.runtime.source_set import SourceSet
from stream.runtime.source_thread import SourceListener, SourceThread
from stream.scene.world_frame import CameraPlacements

log = logging.getLogger("poselift")

_CLOSE_S = 2.0  # how long a change waits for removed sources; those that take longer are settled later
REMOVED = "removed"  # state of a removed camera in a last status message; component that keeps its counters


def make_source(component: ComponentConfig, context: ComponentContext) -> Source:
    """The source of a config, with its detector if it needs one. Raises PoseliftError for wrong settings."""
    if component.detector is None:
        source: Source = component.make(component.settings, context)
        return source
    frame_source: FrameSource = component.make(component.settings, context)
    detector: Detector = component.detector.make(component.detector.settings, context)
    return DetectorSource(frame_source, detector, context)


def require_makeable(components: Iterable[ComponentConfig], context: ComponentContext) -> None:
    """Raise PoseliftError for sources that cannot be made, or that workers cannot run."""
    for component in components:
        require_live(component.name, make_source(component, replace(context, name=component.name)))


def require_live(name: str, source: Source | SourceThread) -> None:
    """Raise ConfigError for a recording, which workers cannot run."""
    if not source.live:
        raise ConfigError(
            f"workers: expected live sources, got the recording {name}, which another worker would "
            "start again from its beginning; set workers to 1"
        )


@dataclass(frozen=True, slots=True)
class LateListener:
    """Events of a source that was added to a running pipeline: its failure ends no other source."""

    listener: SourceListener
    health: Health

    def on_camera(self, camera: str, size_wh: tuple[int, int]) -> None:
        self.listener.on_camera(camera, size_wh)

    def on_frames(self) -> None:
        self.listener.on_frames()

    def on_error(self, component: str, error: Exception) -> None:
        expected = isinstance(error, PoseliftError)
        log.error("%s: %s; the other sources go on", component, error, exc_info=None if expected else error)
        self.health.set_state(component, "failed", str(error))


@dataclass(frozen=True, slots=True)
class CameraTables:
    """What a run knows of its cameras by name: the source of each, its intrinsics, its placement."""

    names: CameraNames
    intrinsics: Cameras
    placements: CameraPlacements

    def reset(self, config: Config, camera: str) -> None:
        """Use the settings of `config` for a camera without frames; forget its floor and who sends it."""
        self.names.release(camera)
        self.intrinsics.set(camera, config.scene.cameras.get(camera))
        self.placements.reset(camera, config.scene.world.camera_pose.get(camera))


class SourceChanges:
    """Changes the sources of a pipeline that runs `config`; for the thread that runs the pipeline.

    make: a source thread for a component. send_status: to the sinks.
    """

    def __init__(
        self,
        config: Config,
        sources: SourceSet,
        make: Callable[[ComponentConfig], SourceThread],
        tables: CameraTables,
        health: Health,
        send_status: Callable[[], object],
    ) -> None:
        self.config = config
        self._sources, self._make, self._tables = sources, make, tables
        self._health, self._send_status = health, send_status
        self._lossless = not any(source.live for source in sources)
        self._successors: dict[str, SourceThread] = {}  # by name, of changed sources that are still closing

    def change(self, wanted: Config) -> None:
        """Open and close sources so that they are those of `wanted`; its other settings are ignored.

        Sources with other settings, and failed ones, are closed and opened again. Raises PoseliftError, with
        nothing changed, for a source that cannot be made, or while sources of the last change are closing.
        """
        self.settle()
        if self._sources.removing:
            closing = ", ".join(source.name for source in self._sources if source.removed)
            raise PoseliftError(f"sources: {closing}: still closing since the last change")
        change = difference(self.config, wanted)
        reopened = {*change.changed, *self._failed()} - {*change.removed}
        if failed := reopened - {*change.changed}:
            log.info("%s: failed before and opened again", ", ".join(sorted(failed)))
        added, successors = self._make_all(change, change.added), self._make_all(change, reopened)
        leaving = [source for source in self._sources if source.name in {*change.removed, *reopened}]
        self.config, self._successors = change.config, successors
        self._tables.names.set_sources(change.config.sources)
        self._sources.replace(leaving, added=[*added.values(), *successors.values()])
        for name, source in added.items():
            self._tables.reset(self.config, name)
            source.start()
        if leaving:
            self._sources.wait_until_drained(_CLOSE_S)
            self.settle()
            if self._sources.removing:
                log.warning("some sources close slowly; they are removed once their last frame is published")

    def settle(self) -> None:
        """Finish what `change` began with sources that have closed since; call it about once a second."""
        removed: list[str] = []
        for source in self._sources.pop_drained():
            cameras = {source.name, *source.sizes_wh}
            for camera in cameras:
                self._tables.reset(self.config, camera)
            if successor := self._successors.pop(source.name, None):
                successor.start()
            else:
                removed += cameras
        if not removed:
            return
        for camera in removed:
            self._health.set_state(camera, REMOVED, "no longer in the config")
        self._send_status()
        for camera in removed:
            self._health.merge(f"{camera}.world", REMOVED)
            self._health.merge(camera, REMOVED)

    def _failed(self) -> list[str]:
        return [source.name for source in self._sources if source.failed]

    def _make_all(self, change: Difference, names: Iterable[str]) -> dict[str, SourceThread]:
        sources = {name: self._make(change.config.sources[name]) for name in names}
        if self._lossless and any(source.live for source in sources.values()):
            raise ConfigError(
                "sources: a run of recordings takes no live sources; start another run for them"
            )
        return sources
