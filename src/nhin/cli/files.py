"""What commands that write files do alike: whole files or none, and progress for those who watch."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def replace_whole(path: Path, data: bytes) -> None:
    """Write beside, then rename: a file is there whole or not at all."""
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(data)
    beside.replace(path)


def watched(items: Iterable[int], doing: str) -> Iterator[int]:
    """Show progress to a person who watches; stay silent in a log."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, doing, console=Console(stderr=True))
