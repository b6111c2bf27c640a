"""Every protection that docs/security.md promises names tests that exist."""

import re

from tests.programs import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()


def defined_tests() -> set[str]:
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return set(re.findall(r"^(?:async )?def (test_\w+)", text, flags=re.MULTILINE))


def test_every_protection_has_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "| test |" not in line]
    assert len(rows) >= 12
    without = [row for row in rows if not re.search(r"`[^`|]*test_\w+`\s*\|$", row) and "`tests/" not in row]
    assert without == []


def test_the_named_tests_exist():
    named = set(re.findall(r"\b(test_\w+)`", PAGE)) - {"test_secrets"}
    assert named - defined_tests() == set()
    folders = re.findall(r"`(tests/[\w/.]+)`", PAGE)
    assert [folder for folder in folders if not (ROOT / folder).exists()] == []
