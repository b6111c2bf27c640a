"""Secrets in configs: `${NAME}` stands for an environment variable, `${file:PATH}` for the text of a file.

    sources: {door: {type: opencv, url: "rtsp://camera:${DOOR_PASSWORD}@192.168.1.20/stream"}}

`poselift check` and error texts show `${NAME}`, never the value behind it.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([^}]*)\}")

_Place = tuple[str | int, ...]  # keys and list positions that lead to a value of the config


class Secrets:
    """References that were replaced in one config, to show them in place of their values."""

    def __init__(self) -> None:
        self._texts: dict[_Place, str] = {}  # the text with references, by its place
        self._values: dict[str, str] = {}  # the reference by its value

    def fill_in(self, tree: Any, place: _Place = ()) -> Any:
        """The same values with all references replaced; ConfigError when a variable or file is missing."""
        if isinstance(tree, dict):
            return {key: self.fill_in(value, (*place, key)) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.fill_in(value, (*place, index)) for index, value in enumerate(tree)]
        if not isinstance(tree, str) or not _REFERENCE.search(tree):
            return tree
        self._texts[place] = tree
        return _REFERENCE.sub(lambda match: self._value(match, place), tree)

    def _value(self, match: re.Match[str], place: _Place) -> str:
        where = ".".join(map(str, place))
        kind, colon, path = match[1].partition(":")
        if colon and kind == "file":
            try:
                value = Path(path).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{where}: {match[0]} cannot be read: {error}") from None
        elif match[1] in os.environ:
            value = os.environ[match[1]]
        else:
            raise ConfigError(f"{where}: {match[0]}: the environment variable {match[1]} is not set")
        if value:
            self._values[value] = match[0]
        return value

    def restore(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Values of the config, such as `Config.to_dict` makes, with the references as they were written."""
        for place, text in self._texts.items():
            branch: Any = tree
            for key in place[:-1]:
                branch = branch.get(key) if isinstance(branch, Mapping) else branch[key]
            if isinstance(branch, list | dict):
                branch[place[-1]] = text  # type: ignore[index]
        return tree

    def hide(self, text: str) -> str:
        """`text` with every value of a reference replaced by the reference."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, self._values[value])
        return text
