"""PAGE XML is read back with the same words, boxes and confidences, in the order of its schema."""

import io
from xml.etree import ElementTree

import pytest
from made_lines import make_line

from nhin.errors import PictureError
from nhin.reading import page_xml
from nhin.reading.document_writer import DocumentWriter
from nhin.reading.documents import ReadPage
from nhin.reading.page_xml import PAGE_XML_FOOT, make_page_xml_head, to_page_xml
from nhin.reading.reading import Reading
from nhin.reading.result import TextBlock

SPACE = "{http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15}"
HEAD, FIRST, SECOND, CELL = (
    make_line("GIẤY BÁO", 10, 10),
    make_line("một <hai>", 10, 60),
    make_line("nghiêng", 10, 110, angle=10),
    make_line("5.000đ", -3, 160),
)
BLOCKS = (
    TextBlock("heading", (((HEAD,),),), 1),
    TextBlock("paragraph", (((FIRST,),), ((SECOND,),))),
    TextBlock("table", (((), (CELL,)),)),
)
READING = Reading((HEAD, FIRST, SECOND, CELL), 300, 200, 1, turn=270, blocks=BLOCKS)


def parse(reading: Reading) -> ElementTree.Element:
    return ElementTree.fromstring(
        make_page_xml_head("a&b.png") + to_page_xml(reading, "a&b.png") + PAGE_XML_FOOT
    )


def test_blocks_lines_and_words_are_regions_lines_and_words():
    page = parse(READING).find(f"{SPACE}Page")
    assert page.get("imageFilename") == "a&b.png"
    assert [page.get(name) for name in ("imageWidth", "imageHeight", "orientation")] == ["300", "200", "-90"]
    order = [item.get("regionRef") for item in page.iter(f"{SPACE}RegionRefIndexed")]
    regions = [item for item in page if item.tag != f"{SPACE}ReadingOrder"]
    assert order == [region.get("id") for region in regions]
    assert [region.get("type") for region in regions] == ["heading", "paragraph", None]
    assert regions[2].tag == f"{SPACE}TableRegion"
    assert regions[2].find(f".//{SPACE}TableCellRole").attrib == {"rowIndex": "0", "columnIndex": "1"}
    words = [item.findtext(f"{SPACE}TextEquiv/{SPACE}Unicode") for item in page.iter(f"{SPACE}Word")]
    assert words == ["GIẤY", "BÁO", "một", "<hai>", "nghiêng", "5.000đ"]
    names = [item.get("id") for item in page.iter() if item.get("id")]
    assert len(set(names)) == len(names)


def test_points_are_whole_and_never_negative_and_confidences_have_four_digits():
    for element in parse(READING).iter():
        if element.tag == f"{SPACE}Coords":
            assert all(
                point.isdecimal() for pair in element.get("points").split() for point in pair.split(",")
            )
        if element.get("conf"):
            assert element.get("conf") == "0.9000"


GOLDEN = """<?xml version="1.0" encoding="UTF-8"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
<Metadata><Creator>nhin X</Creator><Created>T</Created><LastChange>T</LastChange></Metadata>
<Page imageFilename="x.png" imageWidth="50" imageHeight="40" orientation="0" primaryLanguage="Vietnamese">
<ReadingOrder>
<OrderedGroup id="order">
<RegionRefIndexed index="0" regionRef="r1"/>
</OrderedGroup>
</ReadingOrder>
<TextRegion id="r1" type="paragraph">
<Coords points="2,3 26,3 26,33 2,33"/>
<TextLine id="r1_l1"><Coords points="2,3 26,3 26,33 2,33"/>
<Word id="r1_l1_w1"><Coords points="2,3 26,3 26,33 2,33"/>\
<TextEquiv conf="0.9000"><Unicode>số</Unicode></TextEquiv></Word>
<TextEquiv conf="0.9000"><Unicode>số</Unicode></TextEquiv></TextLine>
<TextEquiv><Unicode>số</Unicode></TextEquiv>
</TextRegion>
</Page>
</PcGts>
"""


def test_a_page_looks_like_this(monkeypatch):
    monkeypatch.setattr(page_xml, "__version__", "X")
    monkeypatch.setattr(page_xml, "_format_now", lambda: "T")
    out = io.BytesIO()
    writer = DocumentWriter(out, "page", "x.png")
    writer.add(ReadPage(Reading((make_line("số", 2, 3),), 50, 40)))
    writer.finish()
    assert out.getvalue().decode() == GOLDEN


def test_a_second_page_is_refused_and_nothing_is_written():
    out = io.BytesIO()
    writer = DocumentWriter(out, "page", "x.pdf")
    writer.add(ReadPage(READING))
    with pytest.raises(PictureError, match=r"x\.pdf has several pages"):
        writer.add(ReadPage(READING))
    assert out.getvalue() == b""


def test_a_page_without_lines_is_a_page():
    assert len(parse(Reading((), 10, 10)).find(f"{SPACE}Page")) == 0
