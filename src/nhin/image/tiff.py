"""Where the pages of a TIFF are: the chain of its directories (IFDs), read without decoding a pixel.

Source: TIFF Revision 6.0 (Aldus 1992), and BigTIFF with offsets of eight bytes.
"""

import struct
from dataclasses import dataclass

MAX_PAGES = 1000
"""Pages of one file that are opened."""
_MAX_DIRECTORIES = 8 * MAX_PAGES
_FIRST_TAGS = 4  # tags are sorted, and the two looked for are the smallest but for private ones
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2


@dataclass(frozen=True, slots=True)
class TiffPages:
    """The offset of each page's directory in the file; ``is_torn`` if the chain leads out of the file."""

    offsets: tuple[int, ...]
    is_torn: bool = False


def list_tiff_pages(data: bytes) -> TiffPages | None:
    """List the pages of a TIFF, at most ``MAX_PAGES`` and one; None for other files.

    Directories of smaller copies of a page and of its transparency are no pages.
    """
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    layout = _Layout.of(data)
    offsets: list[int] = []
    seen: set[int] = set()
    try:
        (offset,) = struct.unpack_from(layout.offset, data, layout.first)
        while offset and offset not in seen and len(offsets) <= MAX_PAGES and len(seen) < _MAX_DIRECTORIES:
            seen.add(offset)
            is_page, following = layout.read_directory(data, offset)
            offsets += [offset] if is_page or not offsets else []
            offset = following
    except (struct.error, OverflowError):  # the second of offsets beyond 2**63
        return TiffPages(tuple(offsets), is_torn=True)
    return TiffPages(tuple(offsets))


def point_to_page(data: bytes, offset: int) -> bytes:
    """Return a TIFF whose first page is the one with its directory at ``offset``."""
    layout = _Layout.of(data)
    field = struct.pack(layout.offset, offset)
    return b"".join((data[: layout.first], field, memoryview(data)[layout.first + len(field) :]))


@dataclass(frozen=True, slots=True)
class _Layout:
    """The formats of offsets, counts of tags and tags, and where the first offset is."""

    offset: str
    count: str
    tag: str
    first: int

    @classmethod
    def of(cls, data: bytes) -> "_Layout":
        order = "<" if data[:1] == b"I" else ">"
        if b"+" in data[2:4]:
            return cls(f"{order}Q", f"{order}Q", f"{order}HHQ", 8)
        return cls(f"{order}I", f"{order}H", f"{order}HHI", 4)

    def read_directory(self, data: bytes, offset: int) -> tuple[bool, int]:
        """Return whether a directory is that of a page, and the offset of the next one.

        Raises:
            struct.error: It is not in the file.
        """
        (count,) = struct.unpack_from(self.count, data, offset)
        start = offset + struct.calcsize(self.count)
        head, width = struct.calcsize(self.tag), struct.calcsize(self.offset)
        size = head + width
        (following,) = struct.unpack_from(self.offset, data, min(start + count * size, len(data)))
        is_page = True
        for i in range(min(count, _FIRST_TAGS)):
            at = start + i * size
            tag, kind, _ = struct.unpack_from(self.tag, data, at)
            # A short number stands in the first two bytes of the field, whatever the byte order.
            (value,) = struct.unpack_from(self.offset[0] + ("H" if kind == 3 else "I"), data, at + head)
            if tag == _NEW_SUBFILE_TYPE and value & (_REDUCED | _MASK):
                is_page = False
            if tag == _SUBFILE_TYPE and value == _OLD_REDUCED:
                is_page = False
        return is_page, following
