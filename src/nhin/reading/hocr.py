"""A reading as hOCR 1.2: an XHTML page whose titles carry boxes and confidences.

Source: https://kba.github.io/hocr-spec/1.2/
"""

from nhin.reading.markup import escape_xml, find_bounds, list_line_groups, measure_angle
from nhin.reading.result import Line, PageResult, Word
from nhin.version import __version__

HOCR_FOOT = "</body>\n</html>\n"
_MIN_ANGLE = 1.0


def make_hocr_head(path: str) -> str:
    """Return what stands before the pages of a file."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="vi" lang="vi">
<head>
<title>{escape_xml(path)}</title>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8"/>
<meta name="ocr-system" content="nhin {__version__}"/>
<meta name="ocr-capabilities" content="ocr_page ocr_par ocr_line ocrx_word"/>
</head>
<body>
"""


def to_hocr(reading: PageResult, path: str) -> str:
    """Format a page: blocks as ``ocr_par``, with ``ocr_line`` and ``ocrx_word``; ``x_wconf`` is 0 to 100."""
    page = reading.page
    file = path.replace("\\", "\\\\").replace('"', '\\"')
    title = f'image "{file}"; bbox 0 0 {reading.width} {reading.height}; ppageno {page - 1}'
    out = [f'<div class="ocr_page" id="page_{page}" title="{escape_xml(title)}">\n']
    for number, lines in enumerate(list_line_groups(reading), start=1):
        bounds = find_bounds(*(line.box for line in lines))
        out.append(
            f'<p class="ocr_par" id="par_{page}_{number}" lang="vi" title="{_format_bounds(bounds)}">\n'
        )
        out += [_format_line(line, f"{page}_{number}_{i}") for i, line in enumerate(lines, start=1)]
        out.append("</p>\n")
    return "".join([*out, "</div>\n"])


def _format_line(line: Line, name: str) -> str:
    title = _format_bounds(find_bounds(line.box))
    angle = -measure_angle(line.box)  # hOCR counts against the clock
    if abs(angle) >= _MIN_ANGLE:
        title += f"; textangle {angle:.1f}"
    words = " ".join(_format_word(word, f"{name}_{i}") for i, word in enumerate(line.words, start=1))
    return f'<span class="ocr_line" id="line_{name}" title="{title}">{words}</span>\n'


def _format_word(word: Word, name: str) -> str:
    title = f"{_format_bounds(find_bounds(word.box))}; x_wconf {round(100 * word.confidence)}"
    return f'<span class="ocrx_word" id="word_{name}" title="{title}">{escape_xml(word.text)}</span>'


def _format_bounds(bounds: tuple[int, int, int, int]) -> str:
    return "bbox " + " ".join(map(str, bounds))
