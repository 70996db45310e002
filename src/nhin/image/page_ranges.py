"""Which pages of a file are meant: ``3-7,9``, counted from 1."""

import re
from dataclasses import dataclass

from nhin.errors import UsageError

_RANGE = re.compile(r"(\d{0,9})(-?)(\d{0,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PageRanges:
    """Ranges of pages, first and last included; a last page of None is that of the file."""

    ranges: tuple[tuple[int, int | None], ...]

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and any(
            first <= number and (last is None or number <= last) for first, last in self.ranges
        )

    @property
    def last(self) -> int:
        """The last page that is named."""
        return max(last or first for first, last in self.ranges)


def parse_pages(text: str) -> PageRanges:
    """Parse page numbers and ranges with commas between them; ``3-`` means page 3 and all that follow.

    Raises:
        UsageError: It is something else, or a range ends before it begins.
    """
    ranges: list[tuple[int, int | None]] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None or not (found[1] or found[3]):
            raise UsageError(f"--pages {text!r}: {part.strip()!r} is no page; write it as in 3-7,9 or 12-")
        first = int(found[1] or 1)
        last = int(found[3]) if found[3] else None if found[2] else first
        if first < 1 or (last is not None and last < first):
            raise UsageError(f"--pages {text!r}: {part.strip()!r} holds no page; pages count from 1, upwards")
        ranges.append((first, last))
    return PageRanges(tuple(ranges))
