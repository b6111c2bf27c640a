"""Make docs/configuration.md from the settings of the components and their docstrings.

    python scripts/make_configuration_page.py

A settings struct documents each field in its docstring as `field: meaning`, one paragraph per field;
`field, field: meaning` documents several fields at once.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from sinks import SINKS
from sources import DETECTORS, FRAME_SOURCES, SOURCES
from stream.config.cluster import ClusterSettings
from stream.config.lifter import LifterSettings
from stream.config.load import DEFAULT_NODE, DEFAULT_STATUS_S, Config, import_component
from stream.config.workers import WorkerRange
from stream.postprocess.smoothing import Smoother
from stream.scene.root_position import RootPosition
from stream.tracking.tracker import Tracker

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
SECTIONS = {
    "lifter": LifterSettings,
    "tracking": Tracker.Settings,
    "smoothing": Smoother.Settings,
    "scene": RootPosition.Settings,
    "cluster": ClusterSettings,
    "workers": WorkerRange,
}
PLAIN_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null"}

INTRODUCTION = f"""\
# Configuration

A config is a YAML file. `poselift run FILE.yaml` runs it, `poselift check FILE.yaml` prints it with all
default values filled in, and `--set KEY=VALUE` changes a setting:

```yaml
sources:
  webcam: {{type: opencv, url: 0, detector: {{type: mediapipe, variant: full}}}}
lifter: {{weights: small}}
sinks:
  zeromq: {{type: zeromq, port: 5555}}
```

```bash
poselift run webcam.yaml --set sinks.zeromq.port=5600 --set lifter.lag=4
```

In `--set`, `source.` and `sink.` stand for the only source or sink of a config. The name of a packaged
config can stand in place of a file: `poselift run webcam`. Unknown keys are errors. `type: module:Class`
names a source, detector or sink of your own: [extend.md](extend.md).

In a text, `${{NAME}}` stands for the environment variable NAME and `${{file:PATH}}` for the text of a file:
a config then contains no password. `poselift check` prints the reference and not its value.

This page is generated from the code by `python scripts/{Path(__file__).name}`.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION, *_top_level()]
    parts.append("## `sources`\n")
    parts.append(_wrapped("One entry per source: `NAME: {type: TYPE, ...}`. Sources of images (" +
        ", ".join(f"`{name}`" for name in FRAME_SOURCES) + ") have a `detector`; the other sources provide "
        "keypoints.") + "\n")  # fmt: skip
    parts += _components("sources.NAME", FRAME_SOURCES | SOURCES)
    parts.append("## `sources.NAME.detector`\n\nThe detector that finds keypoints in images.\n")
    parts += _components("sources.NAME.detector", DETECTORS)
    for name, struct in SECTIONS.items():
        parts.append(f"## `{name}`\n")
        parts += _struct(name, struct)
    parts.append("## `sinks`\n\nOne entry per sink: `NAME: {type: TYPE, ...}`.\n")
    parts += _components("sinks.NAME", SINKS)
    return "\n".join(parts)


def meanings(documented: type, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The text before the first field of a docstring, and the meaning of each of the fields `names`.

    Fields of a base class may be documented in its own docstring. ValueError when a field has no meaning.
    """
    docstrings = [
        vars(kind).get("__doc__") or "" for kind in documented.__mro__[:-1] if kind is not msgspec.Struct
    ]
    summary, found = _parse(docstrings[0], names)
    for docstring in docstrings[1:]:
        found = _parse(docstring, names)[1] | found
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{documented.__qualname__}: no meaning of {', '.join(missing)} in its docstring")
    return summary, {name: found[name] for name in names}


def _parse(docstring: str, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    text = re.sub(r"\s+", " ", docstring).strip()
    name = "|".join(sorted(names, key=len, reverse=True))
    starts = list(re.finditer(rf"(?:^|(?<=[.;)] ))((?:{name})(?:, (?:{name}))*): ", text))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    if not starts:
        return text, {}
    meaning = {
        field: _sentence(text[start.end() : end])
        for start, end in zip(starts, ends, strict=True)
        for field in start[1].split(", ")
    }
    return text[: starts[0].start()].strip(), meaning


def _top_level() -> Iterator[str]:
    names = tuple(name for name in Config.__dataclass_fields__ if name != "secrets")
    _, meaning = meanings(Config, names)
    kinds = {
        "node": f"text; default `{json.dumps(DEFAULT_NODE)}`",
        "status_s": f"number; default `{DEFAULT_STATUS_S}`",
        "workers": "whole number, `auto` or a mapping; default `1`",
        "sources": "required",
        "sinks": "required",
    }
    for name, text in meaning.items():
        link = "" if name in ("node", "status_s") else f" See [`{name}`](#{name})."
        yield _entry(name, kinds.get(name, ""), text + link)
    yield ""


def _components(path: str, table: Mapping[str, str]) -> Iterator[str]:
    for name, place in table.items():
        component = import_component(place)
        yield f"### `{path}` with `type: {name}`\n"
        yield _wrapped(_sentence((component.__doc__ or "").split("\n\n")[0])) + "\n"
        yield from _struct(path, component.Settings, with_summary=False)


def _struct(path: str, struct: type, with_summary: bool = True) -> Iterator[str]:
    """The settings of a struct, then those of the structs inside it."""
    names = tuple(field.name for field in msgspec.structs.fields(struct))
    summary, meaning = meanings(struct, names)
    if summary and with_summary:
        yield _wrapped(_sentence(re.sub(r"^Section `\w+` of a config:", "", summary))) + "\n"
    nested = []
    for field in msgspec.structs.fields(struct):
        inner = [(f"{path}.{field.name}{suffix}", kind) for suffix, kind in _structs_in(field.type)]
        nested += inner
        link = f" See [`{inner[0][0]}`](#{_anchor(inner[0][0])})." if inner else ""
        kind = f"{_type_text(field.type)}; {_default_text(field)}"
        yield _entry(field.name, kind, meaning[field.name] + link)
    yield ""
    for inner_path, inner_struct in nested:
        yield f"### `{inner_path}`\n"
        yield from _struct(inner_path, inner_struct)


def _structs_in(hint: Any) -> list[tuple[str, type]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [("", hint)]
    if get_origin(hint) is dict:
        return [(".NAME", struct) for _, struct in _structs_in(get_args(hint)[1])]
    if get_origin(hint) in (Union, UnionType):
        return [found for option in get_args(hint) for found in _structs_in(option)]
    return []


def _type_text(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return ", ".join(_type_text(option) for option in arguments)
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin is dict:
        return "mapping by name"
    if origin in (tuple, list):
        return f"list of {_type_text(arguments[0])}s"
    return PLAIN_TYPES.get(hint, "mapping")


def _default_text(field: Any) -> str:
    if field.required:
        return "required"
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(default, msgspec.Struct):
        default = {}
    return f"default `{json.dumps(msgspec.to_builtins(default))}`" if default != "" else 'default `""`'


def _entry(name: str, kind: str, meaning: str) -> str:
    return _wrapped(f"* **`{name}`**{f' ({kind})' if kind else ''}: {meaning}", "  ")


def _sentence(text: str) -> str:
    """The text with a capital letter first and a full stop last."""
    text = re.sub(r"\s+", " ", text).strip().rstrip(".;, ")
    return f"{text[:1].upper()}{text[1:]}."


def _wrapped(text: str, indent: str = "") -> str:
    return fill(text, 110, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
