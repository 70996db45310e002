"""A font whose letters draw nothing and are all half as wide as high: the text that lies over a picture.

A letter is a line there and back, which covers nothing but has a box: PDFium leaves out letters without one.

The tables are those that PDF asks of an embedded TrueType font (ISO 32000-1, 9.9); written here, so that no
font of others is passed on.
"""

import struct

UNITS, WIDTH, ASCENT, DESCENT = 1000, 500, 800, -200
"""Units of the font for its height, and the width of a letter, its top and its bottom."""
_GLYPHS = 2
_HEAD = 12


def make_glyphless_font() -> bytes:
    """Return the font as TrueType; glyph 1 stands for every letter."""
    box = (0, DESCENT, WIDTH, ASCENT)
    # One contour of three points, all on it: the lower left corner, the upper right one, and back.
    steps = (0, WIDTH, -WIDTH, DESCENT, ASCENT - DESCENT, DESCENT - ASCENT)
    glyph = struct.pack(">hhhhhHH3B6h", 1, *box, 2, 0, 1, 1, 1, *steps) + b"\0"
    tables = {
        b"glyf": glyph,
        b"head": struct.pack(
            ">IIIIHHqqhhhhHHhhh", 1 << 16, 1 << 16, 0, 0x5F0F3CF5, 0, UNITS, 0, 0, *box, 0, 8, 2, 0, 0
        ),
        b"hhea": struct.pack(
            ">IhhhHhhhhhh8xhH", 1 << 16, ASCENT, DESCENT, 0, WIDTH, 0, 0, WIDTH, 1, 0, 0, 0, 1
        ),
        b"hmtx": struct.pack(">Hhh", WIDTH, 0, 0),
        b"loca": struct.pack(">3H", 0, 0, len(glyph) // 2),
        b"maxp": struct.pack(">I14H", 1 << 16, _GLYPHS, 3, 1, 0, 0, 1, *[0] * 8),
    }
    records, body = b"", b""
    start = _HEAD + 16 * len(tables)
    for tag, data in tables.items():
        padded = data + bytes(-len(data) % 4)
        checksum = sum(struct.unpack(f">{len(padded) // 4}I", padded)) & 0xFFFFFFFF
        records += struct.pack(">4sIII", tag, checksum, start + len(body), len(data))
        body += padded
    return struct.pack(">IHHHH", 1 << 16, len(tables), 64, 2, 16 * len(tables) - 64) + records + body
