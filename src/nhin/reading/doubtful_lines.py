"""Leave out the lines of a page that are probably invented, and print that shows through."""

from collections.abc import Sequence

from nhin.reading.confidence import mean_probability
from nhin.reading.line_crop import LineCrop
from nhin.reading.result import Recognition
from nhin.reading.rotation import mean_confidence
from nhin.reading.show_through import SURE, find_faint

_BOTH = 0.9
"""Part of the least confidence that a line's confidence must reach times the detector's certainty of it."""

ReadLine = tuple[LineCrop, Recognition]


def drop_doubtful(read: Sequence[ReadLine], least: float) -> list[ReadLine]:
    """Return the lines that can be trusted.

    Args:
        read: The lines of a page.
        least: The least mean confidence of a line's characters; of faint lines it is at least 0.9. Times the
            detector's score of the line it must reach 0.9 of that. 0 keeps all lines.
    """
    if not least:
        return list(read)
    rates = [mean_confidence(result) if result.chars else mean_probability(result) for _, result in read]
    faint = (
        [False] * len(read)
        if all(rate >= SURE for rate in rates)
        else find_faint([line.pixels for line, _ in read])
    )
    return [
        (line, result)
        for (line, result), rate, is_faint in zip(read, rates, faint, strict=True)
        if rate >= (max(least, SURE) if is_faint else least) and rate * line.score >= _BOTH * least
    ]
