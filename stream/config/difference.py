"""What a config that is read again changes in a running one: cameras only; all other settings stay."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from stream.config.load import Config
from stream.scene.root_position import RootPosition

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Difference:
    """The way from a running config to another one.

    config: the running config with the sources of the other one, their places in the cluster, and the
    intrinsics and poses of their cameras. added, removed, changed: names of sources. fixed: paths such as
    "lifter.hop" of the settings that differ but cannot change while running.
    """

    config: Config
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        """What happens to the sources, for people."""
        groups = {"added": self.added, "removed": self.removed, "opened again": self.changed}
        texts = [f"{text} {', '.join(names)}" for text, names in groups.items() if names]
        return "; ".join(texts) or "no source has changed"


def difference(running: Config, wanted: Config) -> Difference:
    """How `wanted` differs from `running`.

    A source has changed when its own settings or its place have, or the intrinsics or the pose of the camera
    of its name.
    """
    config = _with_sources(running, wanted)
    before, after = _sources(running), _sources(config)
    return Difference(
        config,
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in after if name in before and before[name] != after[name]),
        fixed=tuple(_differing_paths(_tree(config), _tree(wanted))),
    )


def _with_sources(running: Config, wanted: Config) -> Config:
    scene = running.scene
    poses = _merged(scene.world.camera_pose, wanted.scene.world.camera_pose, running, wanted)
    scene = msgspec.structs.replace(
        scene,
        cameras=_merged(scene.cameras, wanted.scene.cameras, running, wanted),
        world=msgspec.structs.replace(scene.world, camera_pose=poses),
    )
    cluster = msgspec.structs.replace(running.cluster, near=wanted.cluster.near)
    return replace(running, sources=wanted.sources, scene=scene, cluster=cluster, secrets=wanted.secrets)


def _merged(
    values: dict[str, T], wanted_values: dict[str, T], running: Config, wanted: Config
) -> dict[str, T]:
    """Values by camera: those of sources as wanted, those of cameras behind network sources as they are."""
    others = {name: value for name, value in values.items() if name not in running.sources | wanted.sources}
    return others | {name: value for name, value in wanted_values.items() if name in wanted.sources}


def _sources(config: Config) -> dict[str, tuple[Any, ...]]:
    """All settings of every source and its camera, by the name of the source."""
    scene: RootPosition.Settings = config.scene
    return {
        name: (
            source,
            scene.cameras.get(name),
            scene.world.camera_pose.get(name),
            config.cluster.near.get(name),
        )
        for name, source in config.sources.items()
    }


def _tree(config: Config) -> dict[str, Any]:
    return {
        "node": config.node,
        "lifter": msgspec.to_builtins(config.lifter),
        "tracking": msgspec.to_builtins(config.tracking),
        "smoothing": msgspec.to_builtins(config.smoothing),
        "scene": msgspec.to_builtins(config.scene),
        "sinks": {name: sink.to_dict() for name, sink in config.sinks.items()},
        "status_s": config.status_s,
        "workers": config.workers,
        "cluster": msgspec.to_builtins(config.cluster),
    }


def _differing_paths(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one | other:
            yield from _differing_paths(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif one != other:
        yield path
