"""Converts plain values, as read from YAML, to settings structs; errors suggest what to type instead."""

import difflib
import math
import re
from collections.abc import Iterable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from stream.errors import ConfigError, masked


def to_struct(kind: type, values: dict[str, Any], where: str) -> Any:
    """Check `values` and fill in defaults: an instance of the msgspec struct `kind`.

    ConfigError for unknown keys, wrong types and numbers out of range; its text begins with `where`, the
    place of the values in the config, such as "sinks.zeromq".
    """
    reject_unknown(values, kind.__struct_fields__, where)  # type: ignore[attr-defined]
    try:
        settings: Any = msgspec.convert(values, kind)
        _require_finite(msgspec.to_builtins(settings), where)
        return settings
    except msgspec.ValidationError as error:
        text = re.sub(r" - at `\$\.?([^`]*)`$", r" (at \1)", str(error))
        raise ConfigError(f"{where}: {text}{_list_hint(text)}{_choices(kind, text)}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where not in str(error) else str(error)) from None


def require_mapping(value: object, where: str) -> dict[str, Any]:
    """`value` if it is a mapping; ConfigError for any other value."""
    if not isinstance(value, dict):
        got = "nothing" if value is None else masked(repr(value))
        raise ConfigError(f"{where}: expected `key: value` lines, got {got}")
    return value


def reject_unknown(tree: dict[str, Any], fields: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key of `tree` that is not among `fields`."""
    fields = list(fields)
    for key in tree:
        if key not in fields:
            raise ConfigError(
                f"{where}: {key!r} is not one of {', '.join(fields)}{suggestion(str(key), fields)}"
            )


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Text to append to an error about `word`: "; did you mean ...?" with the most similar choice, or ""."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _list_hint(text: str) -> str:
    """Text to append to msgspec's error `text` when a list was expected and words were written."""
    return (
        "; write a list in brackets, such as [640,480]" if re.match(r"Expected `array.*`str`", text) else ""
    )


def _choices(kind: type, text: str) -> str:
    """Text that lists the allowed words or keys, to append to msgspec's error `text` about a wrong one."""
    path = re.fullmatch(r"(?:Invalid enum value|Expected `object|Object contains).* \(at (\S+)\)", text)
    if not path:
        return ""
    types = _types_at(kind, path[1])
    fields = [field for type_ in types for field in getattr(type_, "__struct_fields__", ())]
    if fields:
        unknown = re.match(r"Object contains unknown field `(.*)` \(", text)
        return f"; expected keys among {', '.join(fields)}{suggestion(unknown[1], fields) if unknown else ''}"
    words = [word for type_ in types if get_origin(type_) is Literal for word in get_args(type_)]
    numbers = ["a number"] if {int, float} & set(types) else []
    null = ["null"] if type(None) in types else []
    return f"; expected {' or '.join([*numbers, *words, *null])}" if words else ""


def _types_at(kind: type, path: str) -> tuple[Any, ...]:
    """The types allowed at a path of the struct, such as `world.floor` or `cameras[...]` (any key)."""
    types: tuple[Any, ...] = (kind,)
    for key in path.replace("[...]", ".*").split("."):
        hints = [
            get_args(type_)[1] if key == "*" else get_type_hints(type_).get(key)
            for type_ in types
            if (get_origin(type_) is dict if key == "*" else hasattr(type_, "__struct_fields__"))
        ]
        types = tuple(type_ for hint in hints for type_ in (get_args(hint) if _is_union(hint) else (hint,)))
    return types


def _is_union(hint: object) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _require_finite(value: object, where: str) -> None:
    """Raise ConfigError for .nan and .inf, which no setting can mean and range checks may let through."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a number, got {value}")
    if isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _require_finite(item, f"{where}.{key}")
