"""Output that commands share: errors, JSON, tables, progress bars, files and figures."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nhin.errors import MissingExtra, NhinError, UsageError, explain_install
from nhin.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.progress import Progress
    from rich.table import Table

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""
_MAX_ERROR = 2000
_HALF_CHARACTER = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # the others stand for bytes of file names
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def print_error(text: str) -> None:
    """Write one line to standard error, if it can be written to; what a terminal would obey is escaped."""
    line = _HALF_CHARACTER.sub("\ufffd", " ".join(text.split())).translate(_ESCAPES)
    with suppress(OSError):
        sys.stderr.write(f"nhin: {line if len(line) <= _MAX_ERROR else line[:_MAX_ERROR] + ' ...'}\n")
        sys.stderr.flush()


def require_torch(sentence: str) -> None:
    """Refuse to begin where PyTorch is not installed.

    Args:
        sentence: Such as ``training needs``.

    Raises:
        MissingExtra: It is not; the message says how to install it.
    """
    try:
        import torch  # noqa: F401
    except ImportError as why:
        raise MissingExtra(f"{sentence} PyTorch: {explain_install()}") from why


def refuse_options(subject: str, kind: str, other: str, **options: object) -> None:
    """Refuse options that apply to another kind of model only; None means not given."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name} is for {other}, and {subject} is {kind}; leave it out")


def to_json(tree: Any) -> str:
    """Return indented JSON that ends in a newline."""
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def make_table(*columns: str, title: str | None = None) -> "Table":
    """Build a table whose columns are aligned right, except the first."""
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", title_style="")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def print_tables(*parts: "Table | str") -> None:
    """Print tables, and lines of text as they are."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str), markup=False)


@contextmanager
def open_progress() -> Iterator["Progress | None"]:
    """Open a progress display on a terminal; None elsewhere, so that logs stay clean."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield progress


def with_progress(items: Iterable[int], description: str) -> Iterator[int]:
    """Yield items and show how many are done."""
    with open_progress() as progress:
        yield from items if progress is None else progress.track(items, description=description)


@contextmanager
def show_progress(total: int, description: str) -> Iterator[Callable[[int], None] | None]:
    """Yield a function to call with the number of items just done; None where nothing is shown."""
    with open_progress() as progress:
        if progress is None:
            yield None
            return
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically, make its folder if missing, and print its path."""
    write_atomic(path, data, UsageError)
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()


def save_figures(out: Path, names: Sequence[str], draw: "Callable[[str], Figure]", suffix: str = "") -> int:
    """Draw each figure and write it as PNG and SVG; one that fails does not stop the others.

    Returns:
        The worst exit code.
    """
    from nhin.viz.plots import encode_figure

    exit_code = 0
    for name in names:
        try:
            figure = draw(name)
            files = {format: encode_figure(figure, format) for format in ("png", "svg")}
        except NhinError as why:
            if len(names) == 1:
                raise
            print_error(f"{name}: {why}")
            exit_code = max(exit_code, why.exit_code)
            continue
        for format, data in files.items():
            write_file(out / f"{name}{suffix}.{format}", data)
    return exit_code
