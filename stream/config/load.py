"""Configs: YAML in, one strict and complete structure out, or a sentence that says what to type instead.

Every component's settings live in the component's own file (`Component.Settings`); this file
only finds the component by its `type`, applies `--set` changes and turns mistakes into sentences.
"""

import importlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from sinks import SINKS
from sources import DETECTORS, FRAME_SOURCES, SOURCES
from stream.config.convert import reject_unknown, require_mapping, suggestion, to_struct
from stream.config.lifter import LifterSettings
from stream.errors import ConfigError, masked
from stream.postprocess.smoothing import Smoother
from stream.protocols import ComponentContext
from stream.scene.root_position import RootPosition
from stream.tracking.tracker import Tracker

# Installed, the configs lie in this package; in a checkout, at the top.
_PACKAGED = Path(__file__).parent / "packaged"
CONFIGS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "configs"


@dataclass(frozen=True, slots=True)
class ComponentConfig:
    """A component chosen by its `type`, with checked settings; `detector` only for sources of images."""

    name: str
    type: str
    make: Callable[[Any, ComponentContext], Any]
    settings: Any
    detector: "ComponentConfig | None" = None

    def to_dict(self) -> dict[str, Any]:
        shown = {"type": self.type, **msgspec.to_builtins(self.settings)}
        return shown | ({"detector": self.detector.to_dict()} if self.detector else {})


@dataclass(frozen=True, slots=True)
class Config:
    """A checked config: node is the daemon's name, status_s the seconds between health reports."""

    node: str
    sources: dict[str, ComponentConfig]
    lifter: LifterSettings
    tracking: Tracker.Settings
    smoothing: Smoother.Settings
    scene: RootPosition.Settings
    sinks: dict[str, ComponentConfig]
    status_s: float

    def to_dict(self) -> dict[str, Any]:
        """The resolved whole as YAML-able values, defaults included, passwords in URLs masked."""
        shown: dict[str, Any] = _masked(
            {
                "node": self.node,
                "sources": {name: part.to_dict() for name, part in self.sources.items()},
                "lifter": msgspec.to_builtins(self.lifter),
                "tracking": msgspec.to_builtins(self.tracking),
                "smoothing": msgspec.to_builtins(self.smoothing),
                "scene": msgspec.to_builtins(self.scene),
                "sinks": {name: part.to_dict() for name, part in self.sinks.items()},
                "status_s": self.status_s,
            }
        )
        return shown


def load(path: str | Path, changes: Iterable[str] = ()) -> Config:
    """Read the YAML file `path` or a packaged config's name, apply `key.sub=value` changes, check it all."""
    from stream.files.strict_yaml import parse

    file = find(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    return resolve(parse(text, str(file)), changes)


def find(path: str | Path) -> Path:
    """The config file meant by `path`: a file, or the name of a packaged config such as `webcam`."""
    given = Path(path)
    if given.is_file():
        return given
    packaged = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"))}
    if given.name.removesuffix(".yaml") in packaged and given.parent in (Path("."), Path("configs")):
        return packaged[given.name.removesuffix(".yaml")]
    raise ConfigError(
        f"{path}: no such file, and no packaged config of that name{suggestion(str(path), packaged)}; "
        f"packaged: {', '.join(packaged)}"
    )


def resolve(tree: object, changes: Iterable[str] = ()) -> Config:
    """Check a config given as plain values and return it complete."""
    tree = require_mapping(tree, "the config")
    for change in changes:
        _apply(tree, change)
    reject_unknown(tree, (field.name for field in fields(Config)), "the config")
    sources = _named(tree.get("sources"), "sources", "sources: {cam0: {type: opencv, url: 0}}")
    sinks = _named(tree.get("sinks"), "sinks", "sinks: {zeromq: {type: zeromq}}")
    if twice := sources.keys() & sinks.keys():
        # Counters and states go by name.
        raise ConfigError(f"sinks.{min(twice)}: a source is called {min(twice)!r} too; give it another name")
    parts = {name: _source(name, part) for name, part in sources.items()}
    return Config(
        node=_name(tree.get("node", "poselift"), "node"),
        sources=parts,
        lifter=to_struct(LifterSettings, _section(tree, "lifter"), "lifter"),
        tracking=to_struct(Tracker.Settings, _section(tree, "tracking"), "tracking"),
        smoothing=to_struct(Smoother.Settings, _section(tree, "smoothing"), "smoothing"),
        scene=_scene(_section(tree, "scene"), parts),
        sinks={name: _part(name, part, SINKS, f"sinks.{name}") for name, part in sinks.items()},
        status_s=_seconds(tree.get("status_s", 5.0)),
    )


def _scene(tree: dict[str, Any], sources: dict[str, ComponentConfig]) -> RootPosition.Settings:
    scene: RootPosition.Settings = to_struct(RootPosition.Settings, tree, "scene")
    if all(part.detector for part in sources.values()):  # what brings keypoints names its cameras itself
        reject_unknown(scene.cameras, sources, "scene.cameras")
        reject_unknown(scene.world.camera_pose, sources, "scene.world.camera_pose")
    return scene


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    return require_mapping({} if tree.get(name) is None else tree[name], name)


def _source(name: str, tree: dict[str, Any]) -> ComponentConfig:
    where = f"sources.{name}"
    if str(tree.get("type")) not in FRAME_SOURCES:
        return _part(name, tree, SOURCES | FRAME_SOURCES, where)
    tree = dict(tree)
    detector = require_mapping(tree.pop("detector", None) or {"type": "mediapipe"}, f"{where}.detector")
    part = _part(name, tree, FRAME_SOURCES, where)
    found = _part(name, detector, DETECTORS, f"{where}.detector")
    return ComponentConfig(part.name, part.type, part.make, part.settings, found)


def _part(name: str, tree: dict[str, Any], table: Mapping[str, str], where: str) -> ComponentConfig:
    kind = str(tree.get("type"))
    if kind not in table:
        raise ConfigError(
            f"{where}.type: expected one of {', '.join(table)}, got {kind!r}{suggestion(kind, table)}"
        )
    module, _, attribute = table[kind].partition(":")
    make = getattr(importlib.import_module(module), attribute)
    values = {key: value for key, value in tree.items() if key != "type"}
    return ComponentConfig(name, kind, make, to_struct(make.Settings, values, where))


def _apply(tree: dict[str, Any], change: str) -> None:
    """Apply one `--set key.sub=value`; `source.` and `sink.` mean the only source or sink there is."""
    from stream.files.strict_yaml import parse

    path, equals, text = change.partition("=")
    change = masked(change)
    if not equals or not path:
        raise ConfigError(f"--set {change}: expected key.sub=value, for example sinks.zeromq.port=5600")
    keys = path.split(".")
    if keys[0] in ("source", "sink"):
        several = require_mapping(tree.get(f"{keys[0]}s") or {}, f"{keys[0]}s")
        if len(several) != 1:
            raise ConfigError(
                f"--set {change}: the config has {len(several)} {keys[0]}s ({', '.join(map(str, several))}); "
                f"name one: {keys[0]}s.NAME.{'.'.join(keys[1:])}={masked(text)}"
            )
        keys[:1] = [f"{keys[0]}s", str(next(iter(several)))]
    value = parse(text, f"--set {change}")
    branch = tree
    for key in keys[:-1]:
        if branch.get(key) is None:
            branch[key] = {}
        branch = require_mapping(branch[key], f"--set {change}: {key}")
    branch[keys[-1]] = value


def _masked(value: Any) -> Any:
    """The same values, without the passwords of URLs among them."""
    if isinstance(value, dict):
        return {key: _masked(each) for key, each in value.items()}
    return masked(value) if isinstance(value, str) else value


def _named(value: object, where: str, example: str) -> dict[str, dict[str, Any]]:
    if not value:
        raise ConfigError(f"{where}: expected at least one, for example {example}")
    return {
        _name(name, where): require_mapping(part, f"{where}.{name}")
        for name, part in require_mapping(value, where).items()
    }


def _name(value: object, where: str) -> str:
    # Names end up in topics, where these characters would separate or match several.
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
        raise ConfigError(f"{where}: expected a name of letters, digits, '_', '-' or '.', got {value!r}")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"status_s: expected a number of seconds above 0, got {value!r}")
    return float(value)
