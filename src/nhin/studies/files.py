"""Files and folders of a study: written atomically, and checked when they are read."""

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nhin.config import from_dict
from nhin.errors import CheckpointError, NhinError, UsageError
from nhin.files import beside, write_atomic, write_folder
from nhin.format import Cell, format_csv
from nhin.studies.plot_style import render_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
MAX_BYTES = 2**26


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write plain values as JSON, atomically."""
    write_atomic(path, json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def save_dataclass(path: Path, value: Any) -> None:
    """Write a dataclass of plain values; the inverse of ``load_dataclass``."""
    write_json(path, asdict(value))


def load_dataclass(cls: type[T], path: Path) -> T | None:
    """Read a dataclass; None where there is no such file.

    Raises:
        CheckpointError: The file is torn or foreign.
    """
    torn = f"{path} is torn; delete it to have it made again"
    try:
        if not path.exists():
            return None
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path} is over {MAX_BYTES >> 20} MiB, which nhin never writes")
        tree = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_parse_finite, parse_float=_parse_finite
        )
        if not isinstance(tree, dict):
            raise CheckpointError(torn)
        return from_dict(cls, tree, str(path))
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError, NhinError) as why:
        raise CheckpointError(f"{torn}: {why}") from why


def _parse_finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is no number")
    return value


def report_files(
    name: str, rows: Iterable[Mapping[str, Cell]], text: str, figure: "Figure"
) -> dict[str, bytes]:
    """Return rows as CSV, a text as Markdown and a figure as PNG and SVG, by file name."""
    pictures = {f"{name}.{ending}": data for ending, data in render_figure(figure).items()}
    return {f"{name}.csv": format_csv(rows).encode(), f"{name}.md": text.encode()} | pictures


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder, which becomes ``out`` at the end; after an error nothing is left.

    Raises:
        UsageError: There is something at ``out`` already, or it cannot be made.
    """
    check_new_folder(out)
    try:
        with write_folder(out) as folder:
            yield folder
            check_new_folder(out)
    except OSError as why:
        raise UsageError(f"cannot write to {out}: {why.strerror}") from why
    finally:
        shutil.rmtree(beside(out)[0], ignore_errors=True)  # after Ctrl-C too


def check_folder(out: Path) -> None:
    """Refuse a path at which there is something other than a folder."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is no folder; choose another --out")


def check_new_folder(out: Path) -> None:
    """Refuse a path at which there is anything but an empty folder."""
    check_folder(out)
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} holds another run, which stays as it is; choose another --out")
