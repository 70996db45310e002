"""The pages of a file that were read before an interruption, in a hidden file beside the output.

A line of JSON for each page, appended when it is read, after a line with the key: a hash of the input and of
everything that decides how it is read. A line that a kill or a power cut tore is cut off.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nhin.errors import CheckpointError, NhinError, UsageError
from nhin.files import explain_os_error, hash_file
from nhin.image.pdf import is_pdf
from nhin.image.tiff import list_tiff_pages
from nhin.reading.reading import Reading
from nhin.reading.reading_tree import make_tree, parse_tree

_VERSION = 1
_HEAD = 1024
_MAX_LINE = 64 * 2**20


class KeptPages:
    """Keeps what was read of each page of one input; ``file`` is open for reading and writing at both ends.

    Args:
        file: What an earlier run left, or empty.
        key: Of the input and the settings; pages of another key are dropped.
    """

    def __init__(self, file: IO[bytes], key: str) -> None:
        self._file = file
        self._offsets: dict[int, int] = {}
        head = json.dumps({"version": _VERSION, "key": key}).encode() + b"\n"
        file.seek(0)
        end = len(head) if file.readline(_MAX_LINE) == head else 0
        if end:
            end = self._list_pages(end)
        file.seek(end)
        file.truncate()
        if not end:
            file.write(head)
            file.flush()

    def _list_pages(self, end: int) -> int:
        """Note where each page is; return where the last whole line ends."""
        while (line := self._file.readline(_MAX_LINE)).endswith(b"\n"):
            try:
                self._offsets[int(json.loads(line)["page"])] = end
            except (ValueError, KeyError, TypeError):
                break
            end += len(line)
        return end

    def find(self, number: int) -> tuple[Reading, float] | None:
        """Return a page, counted from 1, and its pixels per inch; None if it was not read yet."""
        offset = self._offsets.get(number)
        if offset is None:
            return None
        self._file.seek(offset)
        try:
            tree = json.loads(self._file.readline(_MAX_LINE))
            return parse_tree(tree), float(tree["dpi"])
        except (ValueError, KeyError, TypeError, RuntimeError):  # the last where lines are missing
            return None

    def add(self, reading: Reading, dpi: float) -> None:
        """Keep a page.

        Raises:
            UsageError: There is no room for it.
        """
        with explain_os_error(f"keep page {reading.page}", UsageError):
            self._offsets[reading.page] = self._file.seek(0, 2)
            line = json.dumps(make_tree(reading) | {"dpi": dpi}, separators=(",", ":"))
            self._file.write(line.encode() + b"\n")
            self._file.flush()


@contextmanager
def keep_pages(target: Path, source: Path, settings: str) -> Iterator[KeptPages | None]:
    """Yield the pages kept for an output; they go with success, and with an input that cannot be read.

    Args:
        target: The output; pages are kept in ``.NAME.pages`` beside it.
        source: The input; None is yielded for kinds of files that have one page, whatever their names.
        settings: All that decides how the input is read.

    Raises:
        UsageError: The file cannot be written.
    """
    digest = _hash_if_many_pages(source)
    if digest is None:
        yield None
        return
    path = target.with_name(f".{target.name}.pages")
    with explain_os_error(f"write {path}", UsageError):
        key = hashlib.sha256(f"{digest} {settings}".encode()).hexdigest()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = path.open("r+b")
    with file:
        try:
            yield KeptPages(file, key)
        except (CheckpointError, UsageError):
            raise  # the same command may go on when the reason has gone
        except NhinError:
            path.unlink(missing_ok=True)
            raise
    path.unlink(missing_ok=True)


def _hash_if_many_pages(source: Path) -> str | None:
    """Return the hash of a PDF or a TIFF; None for other files, and for one that cannot be read."""
    try:
        if not source.is_file():
            return None
        with source.open("rb") as file:
            head = file.read(_HEAD)
        return hash_file(source) if is_pdf(head) or list_tiff_pages(head) else None
    except OSError:
        return None
