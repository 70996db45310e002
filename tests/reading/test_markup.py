"""hOCR and ALTO are XML that is read back with the same words, boxes and confidences; words of lines."""

import json
import re
from xml.etree import ElementTree

import pytest

from nhin.reading.alto import ALTO_FOOT, make_alto_head, to_alto
from nhin.reading.hocr import HOCR_FOOT, make_hocr_head, to_hocr
from nhin.reading.reading import Reading
from nhin.reading.result import Char, Line, TextBlock
from nhin.reading.writers import to_json_line

NAME = 'ảnh <"&\\>\x07.png'


def line(text: str, y: float, confidences: float = 0.9) -> Line:
    """Return a line of letters 10 pixels wide, 20 high."""

    def box(left: float, right: float):
        return (left, y), (right, y), (right, y + 20), (left, y + 20)

    chars = tuple(Char(char, confidences, box(10 * i, 10 * i + 10)) for i, char in enumerate(text))
    return Line(text, 0.8, box(0, 10 * len(text)), chars)


FIRST, SECOND, UP = (
    line("Giá < 5 &\x00", 10),
    line("đồng", 40, 0.5),
    Line("lên", 0.9, ((90, 90), (90, 30), (110, 30), (110, 90))),
)
READING = Reading(
    (FIRST, SECOND, UP),
    300,
    100,
    2,
    blocks=(TextBlock("paragraph", (((FIRST,),), ((SECOND,),))), TextBlock("caption", (((UP,),),))),
)
WORDS = ["Giá", "<", "5", "&\ufffd", "đồng", "lên"]


def test_words_are_what_stands_between_spaces_with_their_own_boxes():
    first, second, third = line("một  hai 3", 0, 0.5).words
    assert [word.text for word in (first, second, third)] == ["một", "hai", "3"]
    assert second.box == ((50, 0), (80, 0), (80, 20), (50, 20))
    assert second.confidence == pytest.approx(0.5)
    assert line(" ", 0).words == line("", 0).words == ()


def test_words_of_a_line_without_characters_share_its_box_by_letters():
    first, second = Line("ab cde", 0.7, ((0, 0), (0, 60), (-10, 60), (-10, 0))).words
    assert first.box == ((0, 0), (0, 20), (-10, 20), (-10, 0))
    assert second.box == ((0, 30), (0, 60), (-10, 60), (-10, 30))
    assert second.confidence == pytest.approx(0.7)


def test_json_has_the_words_of_each_line():
    (_, own, _) = json.loads(to_json_line(READING, "x"))["lines"]
    assert own["words"] == [
        {"text": "đồng", "confidence": 0.5, "box": [[0, 40], [40, 40], [40, 60], [0, 60]]}
    ]


def test_hocr_is_xml_with_pages_paragraphs_lines_and_words():
    tree = ElementTree.fromstring(make_hocr_head(NAME) + to_hocr(READING, NAME) + HOCR_FOOT)
    kinds = {
        kind: tree.findall(f".//*[@class='{kind}']") for kind in "ocr_page ocr_par ocr_line ocrx_word".split()
    }
    assert [len(found) for found in kinds.values()] == [1, 2, 3, 6]
    assert [word.text for word in kinds["ocrx_word"]] == WORDS
    assert kinds["ocr_page"][0].get("title").endswith("bbox 0 0 300 100; ppageno 1")
    assert kinds["ocr_line"][1].get("title") == "bbox 0 40 40 60"
    assert kinds["ocr_line"][2].get("title") == "bbox 90 30 110 90; textangle 90.0"
    assert [word.get("title").split("x_wconf ")[1] for word in kinds["ocrx_word"]] == ["90"] * 4 + [
        "50",
        "90",
    ]
    names = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(set(names)) == len(names)


def test_alto_is_xml_with_blocks_lines_and_strings():
    text = make_alto_head(NAME) + to_alto(READING, NAME) + ALTO_FOOT
    tree = ElementTree.fromstring(text)
    space = "{http://www.loc.gov/standards/alto/ns-v4#}"
    assert tree.tag == f"{space}alto"
    strings = tree.findall(f".//{space}String")
    assert [string.get("CONTENT") for string in strings] == WORDS
    assert [float(string.get("WC")) for string in strings] == pytest.approx([0.9] * 4 + [0.5, 0.9])
    box = [strings[4].get(name) for name in "HPOS VPOS WIDTH HEIGHT".split()]
    assert box == ["0", "40", "40", "20"]
    assert len(tree.findall(f".//{space}TextBlock")) == 2
    assert len(tree.findall(f".//{space}SP")) == 3
    assert tree.find(f".//{space}Polygon").get("POINTS") == "90.0,90.0 90.0,30.0 110.0,30.0 110.0,90.0"
    names = re.findall(r' ID="(.*?)"', text)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "write, head, foot", [(to_hocr, make_hocr_head, HOCR_FOOT), (to_alto, make_alto_head, ALTO_FOOT)]
)
def test_pages_without_lines_are_xml_too(write, head, foot):
    pages = write(Reading((), 0, 0), "x") + write(Reading((), 10, 10, 2), "x")
    assert ElementTree.fromstring(head("x") + pages + foot) is not None
