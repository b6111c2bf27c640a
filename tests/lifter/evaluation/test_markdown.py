"""Tables that are readable as they are, and documents in which one place is kept up to date."""

from pathlib import Path

import pytest

from lifter.evaluation import markdown as document
from stream.errors import ConfigError


def test_names_stand_to_the_left_and_numbers_to_the_right() -> None:
    assert document.table(("", "mm"), [("one", "1.0"), ("twelve", "12.0")]) == (
        "|        |   mm |\n"
        "|--------|-----:|\n"
        "| one    |  1.0 |\n"
        "| twelve | 12.0 |"
    )  # fmt: skip


def test_only_the_place_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    file.write_text("before\n<!-- report -->old<!-- /report -->\nafter\n")
    document.check(file, "report")
    document.put(file, "report", "new")
    assert file.read_text() == "before\n<!-- report -->\n\nnew\n\n<!-- /report -->\nafter\n"


def test_a_document_is_begun_where_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "new.md"
    document.check(file, "report", new=True)
    document.put(file, "report", "text")
    assert file.read_text() == "<!-- report -->\n\ntext\n\n<!-- /report -->\n"


def test_a_document_without_the_place_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    with pytest.raises(ConfigError, match="cannot be read"):
        document.check(file, "report")
    with pytest.raises(ConfigError, match="does not exist; make it first"):
        document.check(tmp_path / "nowhere" / "x.md", "report", new=True)
    file.write_text("<!-- report --> and no end")
    with pytest.raises(ConfigError, match="expected the lines <!-- report --> and <!-- /report -->"):
        document.check(file, "report", new=True)


def test_numbers_are_written_as_people_read_them() -> None:
    assert document.pair((97.12, 68.0)) == "97.1 / 68.0"
    assert document.pair((float("nan"), float("nan"))) == ""
    assert document.percent(105.0, 100.0) == "+5.0 %"
