"""What the XML formats share: escaped text, upright boxes, and the lines of a page by blocks."""

import html
import math
import re

from nhin.reading.result import Box, Line, PageResult

Bounds = tuple[int, int, int, int]
"""Left, top, right, bottom."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape_xml(text: str) -> str:
    """Escape text for elements and for attributes in any quotes; what XML cannot hold becomes U+FFFD."""
    return html.escape(_NOT_XML.sub("\ufffd", text)).replace("&#x27;", "&#39;")


def find_bounds(*boxes: Box) -> Bounds:
    """Return the smallest upright box, in whole pixels, that holds some boxes."""
    points = [point for box in boxes for point in box]
    x, y = [point[0] for point in points], [point[1] for point in points]
    return math.floor(min(x)), math.floor(min(y)), math.ceil(max(x)), math.ceil(max(y))


def measure_angle(box: Box) -> float:
    """Return the direction of a line in degrees, clockwise from rightwards, above -180 up to 180."""
    (x, y), (end_x, end_y) = box[:2]
    return math.degrees(math.atan2(end_y - y, end_x - x))


def list_line_groups(reading: PageResult) -> list[tuple[Line, ...]]:
    """Return the lines of each block; those of the page as one group where it has no blocks."""
    groups = [block.lines for block in reading.blocks] or [reading.lines]
    return [group for group in groups if group]
