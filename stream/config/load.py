"""Loads configs: finds the YAML file, applies `--set` changes, and checks it all.

Each component declares its own settings (`Component.Settings`). This file imports the component named by
`type` and converts its settings; a mistake raises ConfigError with what to type instead. A `type` such as
`my_module:MyClass` imports a component from outside of poselift (docs/extend.md).
"""

import importlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from sinks import SINKS
from sources import DETECTORS, FRAME_SOURCES, SOURCES
from stream.config.changes import apply_change
from stream.config.cluster import ClusterSettings
from stream.config.convert import reject_unknown, require_mapping, suggestion, to_struct
from stream.config.lifter import LifterSettings
from stream.config.secrets import Secrets
from stream.config.workers import Workers, check_workers
from stream.errors import ConfigError, masked
from stream.postprocess.smoothing import Smoother
from stream.protocols import ComponentContext
from stream.scene.root_position import RootPosition
from stream.tracking.tracker import Tracker

# In an installed package the configs are inside this folder, in a checkout at the top.
_PACKAGED = Path(__file__).parent / "packaged"
CONFIGS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "configs"

_PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # module:Class

_SECRET_KEYS = ("password", "token")
DEFAULT_NODE = "poselift"
DEFAULT_STATUS_S = 5.0


@dataclass(frozen=True, slots=True)
class ComponentConfig:
    """A source, detector or sink with checked settings.

    make: the component class, called with settings and context; detector: the detector of a source of images,
    None for other components.
    """

    name: str
    type: str
    make: Callable[[Any, ComponentContext], Any]
    settings: Any
    detector: "ComponentConfig | None" = None

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, with `type` and `detector`."""
        shown = {"type": self.type, **msgspec.to_builtins(self.settings)}
        return shown | ({"detector": self.detector.to_dict()} if self.detector else {})


@dataclass(frozen=True, slots=True)
class Config:
    """A checked config.

    node: Name of this process in status messages; letters, digits, `_`, `-` and `.`.

    sources: Sources of keypoints or images by name. The name is part of the topics.

    lifter: The lifter and the timing of windows and poses.

    tracking: Which persons are lifted, and repair of left/right mix-ups.

    smoothing: Filters of the lifted poses.

    scene: Where people stand: camera intrinsics and poses, root positions, floor, foot contacts.

    sinks: Consumers of the poses by name.

    status_s: Seconds between status messages and health lines.

    cluster: The machines on which `poselift cluster run` runs the workers; `poselift run` ignores it.

    workers: Processes among which the sources are divided, each with a lifter of its own; 1 runs everything
    in this process, auto uses one process per core but one, and no more than there are sources, a mapping
    follows the load.
    """

    node: str
    sources: dict[str, ComponentConfig]
    lifter: LifterSettings
    tracking: Tracker.Settings
    smoothing: Smoother.Settings
    scene: RootPosition.Settings
    sinks: dict[str, ComponentConfig]
    status_s: float
    workers: Workers = 1
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    # Not a setting: the `${...}` references, which `to_dict` shows in place of their values.
    secrets: Secrets = field(default_factory=Secrets, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The config as plain values for YAML, with all defaults; shows no passwords and no secrets."""
        shown: dict[str, Any] = _masked(
            {
                "node": self.node,
                "sources": {name: source.to_dict() for name, source in self.sources.items()},
                "lifter": msgspec.to_builtins(self.lifter),
                "tracking": msgspec.to_builtins(self.tracking),
                "smoothing": msgspec.to_builtins(self.smoothing),
                "scene": msgspec.to_builtins(self.scene),
                "sinks": {name: sink.to_dict() for name, sink in self.sinks.items()},
                "status_s": self.status_s,
                "workers": msgspec.to_builtins(self.workers),
                "cluster": msgspec.to_builtins(self.cluster),
            }
        )
        return self.secrets.restore(shown)


def load(path: str | Path, changes: Iterable[str] = ()) -> Config:
    """Load a config.

    path: a YAML file, or the name of a packaged config such as `webcam`; changes: `key.sub=value` texts that
    replace settings. ConfigError when the file cannot be read or a setting is wrong.
    """
    from stream.files.strict_yaml import parse

    file = find(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    return resolve(parse(text, str(file)), changes)


def find(path: str | Path) -> Path:
    """Path of a config file, or of the packaged config of that name. ConfigError if there is neither."""
    file = Path(path)
    if file.is_file():
        return file
    packaged = {config.stem: config for config in sorted(CONFIGS.glob("*.yaml"))}
    if file.name.removesuffix(".yaml") in packaged and file.parent in (Path("."), Path("configs")):
        return packaged[file.name.removesuffix(".yaml")]
    raise ConfigError(
        f"{path}: no such file, and no packaged config of that name{suggestion(str(path), packaged)}; "
        f"packaged: {', '.join(packaged)}"
    )


def resolve(tree: object, changes: Iterable[str] = ()) -> Config:
    """Check a config of plain values and fill in defaults; changes and errors as for `load`.

    `${NAME}` in a text becomes an environment variable, `${file:PATH}` the text of a file.
    """
    tree = require_mapping(tree, "the config")
    for change in changes:
        apply_change(tree, change)
    secrets = Secrets()
    try:
        return _resolve(secrets.fill_in(tree), secrets)
    except ConfigError as error:
        raise ConfigError(secrets.hide(str(error))) from None
    except RecursionError:
        raise ConfigError("the config: nested too deeply") from None


def _resolve(tree: dict[str, Any], secrets: Secrets) -> Config:
    reject_unknown(tree, (field.name for field in fields(Config) if field.name != "secrets"), "the config")
    sources = _named(tree.get("sources"), "sources", "sources: {cam0: {type: opencv, url: 0}}")
    sinks = _named(tree.get("sinks"), "sinks", "sinks: {zeromq: {type: zeromq}}")
    if shared := sources.keys() & sinks.keys():
        # Counters and states are kept by name.
        raise ConfigError(
            f"sinks.{min(shared)}: a source is called {min(shared)!r} too; give it another name"
        )
    source_configs = {name: _source(name, settings) for name, settings in sources.items()}
    return Config(
        node=check_name(tree.get("node", DEFAULT_NODE), "node"),
        sources=source_configs,
        lifter=to_struct(LifterSettings, _section(tree, "lifter"), "lifter"),
        tracking=to_struct(Tracker.Settings, _section(tree, "tracking"), "tracking"),
        smoothing=to_struct(Smoother.Settings, _section(tree, "smoothing"), "smoothing"),
        scene=_scene(_section(tree, "scene"), source_configs),
        sinks={name: _component(name, settings, SINKS, f"sinks.{name}") for name, settings in sinks.items()},
        status_s=_seconds(tree.get("status_s", DEFAULT_STATUS_S)),
        secrets=secrets,
        workers=check_workers(tree.get("workers", 1), len(source_configs)),
        cluster=_cluster(_section(tree, "cluster"), source_configs),
    )


def with_sources(config: Config, sources: dict[str, dict[str, Any]], scene: dict[str, Any]) -> Config:
    """The config with other sources and another scene, as plain values. Raises ConfigError."""
    return replace(
        config,
        sources={name: _source(check_name(name, "sources"), tree) for name, tree in sources.items()},
        scene=to_struct(RootPosition.Settings, scene, "scene"),
    )


def _scene(tree: dict[str, Any], sources: dict[str, ComponentConfig]) -> RootPosition.Settings:
    scene: RootPosition.Settings = to_struct(RootPosition.Settings, tree, "scene")
    # A source of images has one camera, of its own name; a source of keypoints can have cameras of any name.
    if all(source.detector for source in sources.values()):
        reject_unknown(scene.cameras, sources, "scene.cameras")
        reject_unknown(scene.world.camera_pose, sources, "scene.world.camera_pose")
    return scene


def _cluster(tree: dict[str, Any], sources: dict[str, ComponentConfig]) -> ClusterSettings:
    cluster: ClusterSettings = to_struct(ClusterSettings, tree, "cluster")
    reject_unknown(cluster.near, sources, "cluster.near")
    return cluster


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    return require_mapping({} if tree.get(name) is None else tree[name], name)


def _source(name: str, tree: dict[str, Any]) -> ComponentConfig:
    where, type_name = f"sources.{name}", str(tree.get("type"))
    is_own_camera = "detector" in tree and _PLACE.fullmatch(type_name)
    if type_name not in FRAME_SOURCES and not is_own_camera:
        return _component(name, tree, SOURCES | FRAME_SOURCES, where)
    tree = dict(tree)
    detector = {"type": "mediapipe"} | require_mapping(tree.pop("detector", None) or {}, f"{where}.detector")
    source = _component(name, tree, FRAME_SOURCES, where)
    return replace(source, detector=_component(name, detector, DETECTORS, f"{where}.detector"))


def _component(name: str, tree: dict[str, Any], table: Mapping[str, str], where: str) -> ComponentConfig:
    type_name = str(tree.get("type"))
    if type_name in table:
        make = import_component(table[type_name])
    elif _PLACE.fullmatch(type_name):
        make = _import_own_component(type_name, where)
    else:
        raise ConfigError(
            f"{where}.type: expected one of {', '.join(table)}, or module:Class, got {type_name!r}"
            f"{suggestion(type_name, table)}"
        )
    values = {key: value for key, value in tree.items() if key != "type"}
    return ComponentConfig(name, type_name, make, to_struct(make.Settings, values, where))


def import_component(place: str) -> Any:
    """The component class at `place`, such as "sources.opencv:OpenCV"."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _import_own_component(place: str, where: str) -> Any:
    """The component class at `place` of a module that is not part of poselift; ConfigError without one."""
    try:
        make = import_component(place)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{where}.type: {place!r} cannot be imported: {error}; is the folder of the module on PYTHONPATH?"
        ) from None
    if not hasattr(make, "Settings"):
        raise ConfigError(
            f"{where}.type: expected a class with a msgspec struct `Settings`, {place!r} has none"
        )
    return make


def _masked(value: Any) -> Any:
    """The same values with passwords, tokens, and the passwords in URLs masked."""
    if isinstance(value, dict):
        return {key: "***" if item and key in _SECRET_KEYS else _masked(item) for key, item in value.items()}
    return masked(value) if isinstance(value, str) else value


def _named(value: object, where: str, example: str) -> dict[str, dict[str, Any]]:
    if not value:
        raise ConfigError(f"{where}: expected at least one, for example {example}")
    return {
        check_name(name, where): require_mapping(settings, f"{where}.{name}")
        for name, settings in require_mapping(value, where).items()
    }


def check_name(value: object, where: str) -> str:
    """`value` if it is a name; ConfigError otherwise."""
    # Names become parts of topics, where characters such as / and + separate levels or match several.
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
        raise ConfigError(f"{where}: expected a name of letters, digits, '_', '-' or '.', got {value!r}")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"status_s: expected a number of seconds above 0, got {value!r}")
    return float(value)
