"""Plain values into a settings struct, or a sentence that says what to type instead."""

import difflib
import math
import re
from collections.abc import Iterable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from stream.errors import ConfigError, masked


def to_struct(kind: type, values: dict[str, Any], where: str) -> Any:
    """`values` checked and completed; `where` they stand begins what is raised, a ConfigError."""
    reject_unknown(values, kind.__struct_fields__, where)  # type: ignore[attr-defined]
    try:
        made: Any = msgspec.convert(values, kind)
        _finite(msgspec.to_builtins(made), where)
        return made
    except msgspec.ValidationError as error:
        text = re.sub(r" - at `\$\.?([^`]*)`$", r" (at \1)", str(error))
        raise ConfigError(f"{where}: {text}{_choices(kind, text)}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where not in str(error) else str(error)) from None


def require_mapping(value: object, where: str) -> dict[str, Any]:
    """`value`, which must be a mapping."""
    if not isinstance(value, dict):
        got = "nothing" if value is None else masked(repr(value))
        raise ConfigError(f"{where}: expected `key: value` lines, got {got}")
    return value


def reject_unknown(tree: dict[str, Any], fields: Iterable[str], where: str) -> None:
    """Refuse keys that are not among `fields`."""
    fields = list(fields)
    for key in tree:
        if key not in fields:
            raise ConfigError(
                f"{where}: {key!r} is not one of {', '.join(fields)}{suggestion(str(key), fields)}"
            )


def suggestion(word: str, known: Iterable[str]) -> str:
    """What may follow a complaint about `word`: the known one it resembles."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _choices(kind: type, text: str) -> str:
    """What a setting may be, when `text` complains of a word that is none or of keys where there are none."""
    at = re.fullmatch(r"(?:Invalid enum value|Expected `object|Object contains).* \(at (\S+)\)", text)
    if not at:
        return ""
    kinds = _kinds(kind, at[1])
    fields = [field for each in kinds for field in getattr(each, "__struct_fields__", ())]
    if fields:
        unknown = re.match(r"Object contains unknown field `(.*)` \(", text)
        return f"; expected keys among {', '.join(fields)}{suggestion(unknown[1], fields) if unknown else ''}"
    words = [word for each in kinds if get_origin(each) is Literal for word in get_args(each)]
    numbers = ["a number"] if {int, float} & set(kinds) else []
    nothing = ["null"] if type(None) in kinds else []
    return f"; expected {' or '.join([*numbers, *words, *nothing])}" if words else ""


def _kinds(kind: type, path: str) -> tuple[Any, ...]:
    """What may stand at a path such as `world.floor`, or `cameras[...]` for any key there."""
    kinds: tuple[Any, ...] = (kind,)
    for key in path.replace("[...]", ".*").split("."):
        hints = [
            get_args(each)[1] if key == "*" else get_type_hints(each).get(key)
            for each in kinds
            if (get_origin(each) is dict if key == "*" else hasattr(each, "__struct_fields__"))
        ]
        kinds = tuple(each for hint in hints for each in (get_args(hint) if _either(hint) else (hint,)))
    return kinds


def _either(hint: object) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _finite(value: object, where: str) -> None:
    """Refuse .nan and .inf, which pass every comparison one forgot and no setting can mean."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a number, got {value}")
    if isinstance(value, dict | list | tuple):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            _finite(each, f"{where}.{key}")
