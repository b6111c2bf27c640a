"""Strict YAML: repeated keys are errors, and numbers such as 1e-3 are numbers (plain YAML 1.1 reads text).

Texts are bounded: a few lines can nest thousands of levels, or repeat a list by its name (`*alias`) until it
stands for more values than any memory holds.
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from stream.errors import ConfigError, masked

MAX_DEPTH, MAX_VALUES = 50, 100_000  # levels, and values with every alias written out


def parse(text: str, where: str) -> Any:
    """Plain values of a YAML text. `where` names the text in the ConfigError for invalid YAML."""
    try:
        value = yaml.load(text, _Strict)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: dates such as 2001-99-99, very long numbers
        raise ConfigError(f"{where}: not valid YAML: {masked(str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{where}: expected at most {MAX_DEPTH} levels of lists and mappings") from None
    _check_size(value, where)
    return value


def _check_size(value: object, where: str) -> None:
    """Raise ConfigError for more levels or values than a config can have."""
    waiting, count = [(value, 1)], 0
    while waiting:
        item, depth = waiting.pop()
        children: Iterable[object] = item.values() if isinstance(item, dict) else ()
        children = item if isinstance(item, list | set) else children
        waiting += [(child, depth + 1) for child in children]
        count += 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"{where}: expected at most {MAX_DEPTH} levels of lists and mappings")
        if count > MAX_VALUES:
            raise ConfigError(f"{where}: expected at most {MAX_VALUES} values, counting those of aliases")


class _Strict(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """Raises an error for repeated keys; a key may override a key merged with `<<`."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        lines: dict[str, int] = {}
        for key in keys:
            if key.value in lines:
                problem = f"the key {key.value!r} is repeated, first in line {lines[key.value]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return node


_Strict.add_implicit_resolver(  # YAML 1.1 requires a dot and a sign: 1.0e-3, 1.0e+3
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)
