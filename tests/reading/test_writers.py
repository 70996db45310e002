"""What is written can be read back by whom it is written for."""

import csv
import io
import json

import numpy as np

from nhin.reading.line_crop import locate_line, whole_picture
from nhin.reading.reading import Reading
from nhin.reading.result import Char, Line, ReadingWarning, Recognition, TextBlock
from nhin.reading.writers import TSV_HEAD, to_json_line, to_text, to_tsv

BOX = ((1.0, 2.0), (30.5, 2.0), (30.5, 12.25), (1.0, 12.25))
READING = Reading(
    (Line("Phở bò", 0.98765, BOX, (Char("P", 0.999, BOX),)), Line('a\t"b"', 0.5, BOX)), width=40, height=20
)
EMPTY = Reading((), 40, 20)


def test_text_is_the_lines_alone():
    assert to_text(READING, "x.png") == 'Phở bò\na\t"b"\n'
    assert to_text(EMPTY, "x.png") == ""


def test_a_table_has_one_row_a_line_for_any_text():
    rows = list(
        csv.reader(
            io.StringIO(TSV_HEAD + to_tsv(READING, "a\tb.png")), delimiter="\t", quoting=csv.QUOTE_NONE
        )
    )
    assert rows[0] == ["path", "page", "line", "text", "confidence", "box"]
    assert rows[1] == ["a b.png", "1", "1", "Phở bò", "0.9877", "1,2,30.5,2,30.5,12.2,1,12.2"]
    assert rows[2][3] == 'a "b"'
    assert all(len(row) == 6 for row in rows)
    assert to_tsv(EMPTY, "x") == ""


def test_json_carries_everything_on_one_line():
    line = to_json_line(READING, "ảnh.png")
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert "ảnh.png" in line
    tree = json.loads(line)
    assert tree["text"] == READING.text
    assert (tree["width"], tree["height"]) == (40, 20)
    assert tree["lines"][0]["chars"][0] == {"text": "P", "confidence": 0.999, "box": [list(p) for p in BOX]}
    assert json.loads(to_json_line(EMPTY, "x"))["lines"] == []


def test_json_carries_the_alternatives_of_each_line_with_their_probabilities():
    crop = whole_picture(np.zeros((8, 20, 3), np.uint8))
    alternatives = (("được", 0.7), ("dược", 0.25))
    doubtful = locate_line(crop, Recognition("được", 0.6, alternatives=alternatives))
    sure = locate_line(crop, Recognition("bò", 0.9))
    lines = json.loads(to_json_line(Reading((doubtful, sure), 20, 8), "x"))["lines"]
    assert lines[0]["alternatives"] == [
        {"text": "được", "probability": 0.7},
        {"text": "dược", "probability": 0.25},
    ]
    assert lines[1]["alternatives"] == []


def test_page_and_warnings_are_written():
    warning = ReadingWarning("page-skipped", "a.tif, page 3, is torn")
    reading = Reading(READING.lines, 40, 20, page=3, warnings=(warning,))
    assert [row.split("\t")[1] for row in to_tsv(reading, "a.tif").splitlines()] == ["3", "3"]
    tree = json.loads(to_json_line(reading, "a.tif"))
    assert tree["page"] == 3
    assert tree["warnings"] == [{"code": "page-skipped", "message": "a.tif, page 3, is torn"}]


def test_json_has_the_blocks_by_the_places_of_their_lines():
    title, *cells = (Line(text, 1.0, BOX) for text in ("Thực đơn", "Phở", "bò", "45.000"))
    blocks = (
        TextBlock("heading", (((title,),),), 1),
        TextBlock("table", (((cells[0], cells[1]), (cells[2],)), ((), ()))),
    )
    reading = Reading((title, *cells), 40, 20, turn=90, blocks=blocks)
    tree = json.loads(to_json_line(reading, "x.png"))
    assert tree["turn"] == 90
    assert tree["blocks"] == [
        {"kind": "heading", "lines": [0], "level": 1},
        {"kind": "table", "lines": [1, 2, 3], "rows": [[[1, 2], [3]], [[], []]]},
    ]
    assert tree["text"] == "Thực đơn\nPhở bò\t45.000\n"
