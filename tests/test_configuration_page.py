"""docs/configuration.md is generated from the settings of the components."""

import msgspec
import pytest

from scripts.make_configuration_page import PAGE, meanings, page


def test_the_configuration_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python scripts/make_configuration_page.py"


class Base(msgspec.Struct):
    """host: Address; port: 0 picks a free one."""

    host: str
    port: int


class Sink(Base):
    """Publishes poses.

    path, folder: Where it writes.
    every_s: Seconds between messages.
    """

    path: str
    folder: str
    every_s: float


def test_every_field_has_the_meaning_of_its_docstring_or_that_of_the_base_class() -> None:
    assert meanings(Sink, ("host", "port", "path", "folder", "every_s")) == (
        "Publishes poses.",
        {
            "host": "Address.",
            "port": "0 picks a free one.",
            "path": "Where it writes.",
            "folder": "Where it writes.",
            "every_s": "Seconds between messages.",
        },
    )


def test_a_field_without_a_meaning_is_an_error() -> None:
    with pytest.raises(ValueError, match="Base: no meaning of user in its docstring"):
        meanings(Base, ("host", "port", "user"))
