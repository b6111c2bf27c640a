"""Strict YAML: repeated keys are errors, and numbers such as 1e-3 are numbers (plain YAML 1.1 reads text)."""

import re
from typing import Any

import yaml

from stream.errors import ConfigError, masked


def parse(text: str, where: str) -> Any:
    """Plain values of a YAML text. `where` names the text in the ConfigError for invalid YAML."""
    try:
        return yaml.load(text, _Strict)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: dates such as 2001-99-99, very long numbers
        raise ConfigError(f"{where}: not valid YAML: {masked(str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{where}: not valid YAML: nested too deeply") from None


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
