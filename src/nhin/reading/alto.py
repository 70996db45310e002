"""A reading as ALTO 4, the XML of libraries; see https://www.loc.gov/standards/alto/."""

from nhin.reading.markup import Bounds, escape_xml, find_bounds, list_line_groups, measure_angle
from nhin.reading.result import Box, Line, PageResult, Word
from nhin.version import __version__

ALTO_FOOT = "</Layout>\n</alto>\n"
_MIN_ANGLE = 1.0


def make_alto_head(path: str) -> str:
    """Return what stands before the pages of a file."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#" SCHEMAVERSION="4.2">
<Description>
<MeasurementUnit>pixel</MeasurementUnit>
<sourceImageInformation><fileName>{escape_xml(path)}</fileName></sourceImageInformation>
<Processing ID="nhin"><processingSoftware><softwareName>nhin</softwareName>\
<softwareVersion>{__version__}</softwareVersion></processingSoftware></Processing>
</Description>
<Layout>
"""


def to_alto(reading: PageResult, path: str) -> str:
    """Format a page: blocks as ``TextBlock``, words as ``String`` whose ``WC`` is 0 to 1."""
    page, size = reading.page, f'WIDTH="{reading.width}" HEIGHT="{reading.height}"'
    out = [
        f'<Page ID="page_{page}" PHYSICAL_IMG_NR="{page}" {size}>\n',
        f'<PrintSpace HPOS="0" VPOS="0" {size}>\n',
    ]
    for number, lines in enumerate(list_line_groups(reading), start=1):
        bounds = find_bounds(*(line.box for line in lines))
        out.append(f'<TextBlock ID="block_{page}_{number}" LANG="vi" {_format_bounds(bounds)}>\n')
        out += [_format_line(line, f"{page}_{number}_{i}") for i, line in enumerate(lines, start=1)]
        out.append("</TextBlock>\n")
    return "".join([*out, "</PrintSpace>\n</Page>\n"])


def _format_line(line: Line, name: str) -> str:
    words = "<SP/>".join(_format_word(word, f"{name}_{i}") for i, word in enumerate(line.words, start=1))
    shape = _format_shape(line.box) if abs(measure_angle(line.box)) >= _MIN_ANGLE else ""
    return f'<TextLine ID="line_{name}" {_format_bounds(find_bounds(line.box))}>{shape}{words}</TextLine>\n'


def _format_word(word: Word, name: str) -> str:
    content = f'CONTENT="{escape_xml(word.text)}" WC="{word.confidence:.4f}"'
    return f'<String ID="word_{name}" {content} {_format_bounds(find_bounds(word.box))}/>'


def _format_shape(box: Box) -> str:
    """Return the four corners of a line that is not level."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in box)
    return f'<Shape><Polygon POINTS="{points}"/></Shape>'


def _format_bounds(bounds: Bounds) -> str:
    left, top, right, bottom = bounds
    return f'HPOS="{left}" VPOS="{top}" WIDTH="{right - left}" HEIGHT="{bottom - top}"'
