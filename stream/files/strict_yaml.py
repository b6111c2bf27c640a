"""YAML without its traps: of a key that is there twice the second would win, and 1e-3 would be a text."""

import re
from typing import Any

import yaml

from stream.errors import ConfigError, masked


def parse(text: str, where: str) -> Any:
    """The plain values in `text`; `where` names it in what is raised, a ConfigError."""
    try:
        return yaml.load(text, _Strict)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {masked(str(error))}") from None


class _Strict(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """Refuses repeated keys; a key may still override one that `<<` merges in."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        lines: dict[str, int] = {}
        for key in keys:
            if key.value in lines:
                problem = f"the key {key.value!r} is there twice, first in line {lines[key.value]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return node


_Strict.add_implicit_resolver(  # YAML 1.1 wants a dot and a sign: 1.0e-3, 1.0e+3
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)
