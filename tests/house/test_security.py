"""docs/security.md: every row names a limit and tests, and the tests exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "security.md").read_text("utf-8").splitlines()
    if re.match(r"\| \d+ \|", line)
]


def test_rows_are_numbered_and_each_has_a_threat_a_limit_and_tests():
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, len(ROWS) + 1)]
    for row in ROWS:
        assert len(row) == 4
        assert all(row)
        assert "::" in row[3]


def test_every_test_that_is_named_exists():
    for row in ROWS:
        for path, name in re.findall(r"`([^`:]+)::([^`]+)`", row[3]):
            text = (ROOT / "tests" / path).read_text("utf-8")
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"row {row[0]}: {path}::{name}"
