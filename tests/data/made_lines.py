"""Lines as a reader would return them, at any angle."""

import numpy as np

from nhin.reading.result import Char, Line


def make_line(
    text: str, x: float, y: float, angle: float = 0, letter: float = 12, height: float = 30
) -> Line:
    """Return a line whose box begins at a point and runs clockwise from rightwards by an angle."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))

    def box(left: float, right: float):
        corners = ((left, 0), (right, 0), (right, height), (left, height))
        return tuple((float(x + u * cos - v * sin), float(y + u * sin + v * cos)) for u, v in corners)

    chars = tuple(Char(char, 0.9, box(letter * i, letter * (i + 1))) for i, char in enumerate(text))
    return Line(text, 0.9, box(0, letter * len(text)), chars)
