"""Padded Markdown tables, and documents of which one section is kept up to date."""

from pathlib import Path

import pytest

from lifter.reports import markdown
from stream.errors import ConfigError


def test_names_are_aligned_left_and_numbers_right() -> None:
    assert markdown.table(("", "mm"), [("one", "1.0"), ("twelve", "12.0")]) == (
        "|        |   mm |\n"
        "|--------|-----:|\n"
        "| one    |  1.0 |\n"
        "| twelve | 12.0 |"
    )  # fmt: skip


def test_only_the_text_of_the_section_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    file.write_text("before\n<!-- report -->old<!-- /report -->\nafter\n")
    markdown.check_section(file, "report")
    markdown.write_section(file, "report", "new")
    assert file.read_text() == "before\n<!-- report -->\n\nnew\n\n<!-- /report -->\nafter\n"


def test_a_missing_document_is_created(tmp_path: Path) -> None:
    file = tmp_path / "new.md"
    markdown.check_section(file, "report", may_create=True)
    markdown.write_section(file, "report", "text")
    assert file.read_text() == "<!-- report -->\n\ntext\n\n<!-- /report -->\n"


def test_a_document_without_the_section_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    with pytest.raises(ConfigError, match="cannot be read"):
        markdown.check_section(file, "report")
    with pytest.raises(ConfigError, match="does not exist; make it first"):
        markdown.check_section(tmp_path / "nowhere" / "x.md", "report", may_create=True)
    file.write_text("<!-- report --> and no end")
    with pytest.raises(ConfigError, match="expected the lines <!-- report --> and <!-- /report -->"):
        markdown.check_section(file, "report", may_create=True)


def test_numbers_are_rounded_and_nan_is_empty() -> None:
    assert markdown.pair((97.12, 68.0)) == "97.1 / 68.0"
    assert markdown.pair((float("nan"), float("nan"))) == ""
    assert markdown.percent(105.0, 100.0) == "+5.0 %"
