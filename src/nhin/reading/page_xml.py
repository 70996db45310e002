"""A reading as PAGE XML, the format of ground truth and of eScriptorium and Transkribus; one page a file.

Source: https://github.com/PRImA-Research-Lab/PAGE-XML, schema of 2019-07-15.
"""

from datetime import UTC, datetime

from nhin.reading.markup import Bounds, escape_xml, find_bounds
from nhin.reading.result import Box, Line, PageResult, TextBlock, Word
from nhin.version import __version__

PAGE_XML_FOOT = "</PcGts>\n"
_SPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
_KINDS = {"heading": "heading", "paragraph": "paragraph", "caption": "caption"}
_ORIENTATIONS = {0: 0, 90: 90, 180: 180, 270: -90}


def make_page_xml_head(path: str) -> str:
    """Return what stands before the page of a file."""
    now = _format_now()
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<PcGts xmlns="{_SPACE}">
<Metadata><Creator>nhin {__version__}</Creator><Created>{now}</Created>\
<LastChange>{now}</LastChange></Metadata>
"""


def _format_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_page_xml(reading: PageResult, path: str) -> str:
    """Format a page: blocks as ``TextRegion`` and ``TableRegion``, lines, words; ``conf`` is 0 to 1."""
    blocks = reading.blocks or ((TextBlock("paragraph", tuple(((line,),) for line in reading.lines)),))
    regions = [
        _format_block(block, f"r{number}")
        for number, block in enumerate((block for block in blocks if block.lines), start=1)
    ]
    order = "".join(f'<RegionRefIndexed index="{i}" regionRef="r{i + 1}"/>\n' for i in range(len(regions)))
    orientation = _ORIENTATIONS.get(reading.turn, 0)
    group = f'<ReadingOrder>\n<OrderedGroup id="order">\n{order}</OrderedGroup>\n</ReadingOrder>\n'
    return (
        f'<Page imageFilename="{escape_xml(path)}" imageWidth="{reading.width}" '
        f'imageHeight="{reading.height}" orientation="{orientation}" primaryLanguage="Vietnamese">\n'
        f"{group if regions else ''}{''.join(regions)}</Page>\n"
    )


def _format_block(block: TextBlock, name: str) -> str:
    if block.kind != "table":
        return _format_region(block.lines, name, f' type="{_KINDS[block.kind]}"')
    size = f'rows="{len(block.rows)}" columns="{len(block.rows[0])}"'
    cells = [
        _format_region(cell, f"{name}_{i + 1}_{j + 1}", role=f'rowIndex="{i}" columnIndex="{j}"')
        for i, row in enumerate(block.rows)
        for j, cell in enumerate(row)
        if cell
    ]
    bounds = _format_bounds(find_bounds(*(line.box for line in block.lines)))
    return f'<TableRegion id="{name}" {size}>\n{bounds}\n{"".join(cells)}</TableRegion>\n'


def _format_region(lines: tuple[Line, ...], name: str, kind: str = "", role: str = "") -> str:
    """Format lines as a region of text, or as a cell of a table with a role."""
    bounds = _format_bounds(find_bounds(*(line.box for line in lines)))
    cell = f"<Roles><TableCellRole {role}/></Roles>\n" if role else ""
    rows = "".join(_format_line(line, f"{name}_l{i}") for i, line in enumerate(lines, start=1))
    text = _format_text("\n".join(line.text for line in lines))
    # In the order of the schema: Coords, Roles (of any region), then what only regions of text have.
    return f'<TextRegion id="{name}"{kind}>\n{bounds}\n{cell}{rows}{text}\n</TextRegion>\n'


def _format_line(line: Line, name: str) -> str:
    words = "".join(_format_word(word, f"{name}_w{i}") for i, word in enumerate(line.words, start=1))
    text = _format_text(line.text, line.confidence)
    return f'<TextLine id="{name}">{_format_box(line.box)}\n{words}{text}</TextLine>\n'


def _format_word(word: Word, name: str) -> str:
    text = _format_text(word.text, word.confidence)
    return f'<Word id="{name}">{_format_box(word.box)}{text}</Word>\n'


def _format_text(text: str, confidence: float | None = None) -> str:
    conf = "" if confidence is None else f' conf="{confidence:.4f}"'
    return f"<TextEquiv{conf}><Unicode>{escape_xml(text)}</Unicode></TextEquiv>"


def _format_box(box: Box) -> str:
    """Return four corners as whole pixels; the schema allows no negative ones."""
    points = " ".join(f"{max(0, round(x))},{max(0, round(y))}" for x, y in box)
    return f'<Coords points="{points}"/>'


def _format_bounds(bounds: Bounds) -> str:
    left, top, right, bottom = bounds
    return _format_box(((left, top), (right, top), (right, bottom), (left, bottom)))
