"""Applies changes such as `--set sinks.zeromq.port=5600` to a config."""

from typing import Any

from stream.config.convert import require_mapping
from stream.errors import ConfigError, masked
from stream.files.strict_yaml import parse


def apply_change(tree: dict[str, Any], change: str) -> None:
    """Set the value at `key.sub=value` in the tree of a config; creates missing sections.

    A first key `source` or `sink` stands for the only source or sink. ConfigError when there are several,
    when the text has no `=`, or when the path leads through a value that is not a mapping.
    """
    path, equals, text = change.partition("=")
    change = masked(change)
    if not equals or not path:
        raise ConfigError(f"--set {change}: expected key.sub=value, for example sinks.zeromq.port=5600")
    keys = path.split(".")
    if keys[0] in ("source", "sink"):
        names = list(require_mapping(tree.get(f"{keys[0]}s") or {}, f"{keys[0]}s"))
        if len(names) != 1:
            raise ConfigError(
                f"--set {change}: the config has {len(names)} {keys[0]}s ({', '.join(map(str, names))}); "
                f"name one: {keys[0]}s.NAME.{'.'.join(keys[1:])}={masked(text)}"
            )
        keys[:1] = [f"{keys[0]}s", str(names[0])]
    value = parse(text, f"--set {change}")
    branch = tree
    for key in keys[:-1]:
        if branch.get(key) is None:
            branch[key] = {}
        branch = require_mapping(branch[key], f"--set {change}: {key}")
    branch[keys[-1]] = value
