"""YAML of configs: repeated keys, numbers, and texts that stand for more than any memory holds."""

import pytest

from stream.errors import ConfigError
from stream.files.strict_yaml import parse


def test_numbers_with_an_exponent_are_numbers():
    assert parse("{a: 1e-3, b: -2.5E+4, c: 1e, d: 0}", "config") == {
        "a": 0.001,
        "b": -25000.0,
        "c": "1e",
        "d": 0,
    }


def test_a_repeated_key_is_refused():
    with pytest.raises(ConfigError, match=r"not valid YAML.*the key 'a' is repeated, first in line 1"):
        parse("a: 1\nb: 2\na: 3", "config")


@pytest.mark.parametrize("text", ["[" * 20_000, "[" * 60 + "]" * 60, "{a: " * 60 + "1" + "}" * 60])
def test_thousands_of_levels_are_refused(text: str):
    with pytest.raises(ConfigError, match="config: expected at most 50 levels of lists and mappings"):
        parse(text, "config")


def test_aliases_of_aliases_that_stand_for_a_billion_values_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ConfigError, match="config: expected at most 100000 values"):
        parse("\n".join(lines), "config")


def test_a_list_that_contains_itself_is_refused():
    with pytest.raises(ConfigError, match="expected at most 50 levels"):
        parse("a: &a [*a]", "config")
