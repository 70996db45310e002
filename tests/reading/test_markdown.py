"""Markdown shows the texts that were read, whatever signs they have, in the structure of the page."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nhin.reading.markdown import escape_markdown, to_markdown
from nhin.reading.reading import Reading
from nhin.reading.result import Line, TextBlock

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
BOX = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))
SIGNS = st.text(st.sampled_from("aộ 19\\`*_{}[]()#+-.!|<>&;:~=\"'$@/%\t"), min_size=1, max_size=12)


def make_block(kind, *rows: tuple[str, ...], level: int = 0) -> TextBlock:
    cells = tuple(tuple((Line(text, 1.0, BOX),) if text else () for text in row) for row in rows)
    return TextBlock(kind, cells, level)


def render(*blocks: TextBlock) -> str:
    lines = tuple(line for block in blocks for line in block.lines)
    return MARKDOWN.render(to_markdown(Reading(lines, 9, 9, blocks=blocks), "x.png"))


def find_texts(page: str, tag: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)]


@given(SIGNS.filter(str.strip))
def test_signs_of_markup_are_shown_as_they_were_read(text):
    plain = " ".join(text.split())
    assert find_texts(render(make_block("paragraph", (text,))), "p") == [plain]
    assert find_texts(render(make_block("heading", (text,), level=2)), "h2") == [plain]
    assert find_texts(render(make_block("table", ("A", "B"), (text, "C"))), "td") == [plain, "C"]


def test_a_page_has_headings_paragraphs_and_tables():
    page = render(
        make_block("heading", ("THỰC ĐƠN",), level=1),
        make_block("paragraph", ("Mở cửa từ",), ("6 giờ", "đến 22 giờ")),
        make_block("table", ("Món", "Giá"), ("Phở | bún", "45.000"), ("Cơm", "")),
        make_block("caption", ("Hình 1. Quán",)),
    )
    assert find_texts(page, "h1") == ["THỰC ĐƠN"]
    assert find_texts(page, "p") == ["Mở cửa từ 6 giờ đến 22 giờ", "Hình 1. Quán"]
    assert find_texts(page, "th") == ["Món", "Giá"]
    assert find_texts(page, "td") == ["Phở | bún", "45.000", "Cơm", ""]


def test_only_what_would_be_markup_is_escaped():
    for text in ("-50.000đ", "Giá: 45.000đ (8%)", "12.5", "C# và số #7", "a-b.c", "12, Lý Thường Kiệt!"):
        assert escape_markdown(text) == text.replace("C# ", "C\\# ")
    assert escape_markdown("1. Phạm vi") == "1\\. Phạm vi"
    assert escape_markdown("- Lưu: VT") == "\\- Lưu: VT"


def test_a_blank_page_gives_nothing():
    assert to_markdown(Reading((), 9, 9), "x.png") == ""
