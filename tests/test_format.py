"""Text for people and for files: what is written is read back, and tables keep their shape."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.errors import UsageError
from nhin.format import format_bytes, format_csv, format_duration, markdown_table, parse_duration


@pytest.mark.parametrize(
    ("words", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5m", 90), (" 4m ", 240), ("1h30m", 5400), ("5m24s", 324)],
)
def test_budgets_are_read_as_people_write_them(words, seconds):
    assert parse_duration("budget", words) == seconds


@pytest.mark.parametrize("words", ["", "30", "m", "-3m", "30s5m", "3 days", "1e9h", "nan", "infs", "३m"])
def test_other_budgets_are_refused(words):
    with pytest.raises(UsageError, match="a budget looks like 90s, 30m or 2h"):
        parse_duration("budget", words)


def test_time_spans_are_said_as_people_do():
    assert [format_duration(x) for x in (0.2, 59.4, 59.6, 200, 7500)] == [
        "0s",
        "59s",
        "1m00s",
        "3m20s",
        "2h05m",
    ]


@given(seconds=st.integers(0, 10**6))
def test_a_duration_is_read_back_up_to_what_is_not_shown(seconds):
    read = parse_duration("budget", format_duration(seconds))
    assert 0 <= seconds - read < (60 if seconds >= 3600 else 1)


def test_sizes_are_in_kb_until_a_mb():
    assert [format_bytes(size) for size in (1024, 2**20 - 1, 2**20)] == ["1 KB", "1,024 KB", "1.0 MB"]


cells = st.none() | st.integers() | st.floats(-1e9, 1e9) | st.text("abc ", min_size=1)


@given(rows=st.lists(st.dictionaries(st.sampled_from("xyz"), cells, min_size=1), min_size=1))
def test_a_csv_file_has_a_line_for_each_row_and_an_empty_cell_where_nothing_is_known(rows):
    rows = [{"row": number} | row for number, row in enumerate(rows)]
    read = list(csv.DictReader(io.StringIO(format_csv(rows))))
    assert len(read) == len(rows)
    for line, row in zip(read, rows, strict=True):
        for name, text in line.items():
            value = row.get(name)
            assert (text == "") == (value is None)
            if isinstance(value, float):
                assert float(text) == pytest.approx(value, rel=1e-11, abs=1e-14)
            elif value is not None:
                assert text == str(value)


@pytest.mark.parametrize(("numeric", "rule"), [(False, "| --- | --- |"), (True, "|---|---:|")])
def test_a_markdown_table_has_a_header_a_rule_and_its_rows(numeric, rule):
    table = markdown_table(["a", "b"], [["1", "2"], ["3", "4"]], numeric)
    assert table.splitlines() == ["| a | b |", rule, "| 1 | 2 |", "| 3 | 4 |"]
