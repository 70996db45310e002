"""What commands do alike: files whole or not at all, JSON for programs, progress for those who watch."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside, then rename: a file is there whole or not at all."""
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(data)
    beside.replace(path)


def with_progress(items: Iterable[int], doing: str) -> Iterator[int]:
    """Show progress to a person who watches; stay silent in a log."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, doing, console=Console(stderr=True))


def to_json(tree: dict[str, Any]) -> str:
    """Return a tree as one JSON object a person can read too."""
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


@contextmanager
def show_progress(total: int, doing: str) -> Iterator[Callable[[int], None] | None]:
    """Give what is to be told how much more is done, None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda more: bar.update(task, advance=more)
