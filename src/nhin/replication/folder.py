"""A folder of results that is there whole or not at all, and never in place of another."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nhin.errors import UsageError


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Give a folder to write to, which becomes ``out`` when all is written; else nothing is left.

    Raises:
        UsageError: There is something at ``out`` already, or it cannot be made.
    """
    refuse(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as why:
        raise UsageError(f"cannot write to {out}: {why.strerror}") from why
    try:
        yield beside
        refuse(out)
        beside.chmod(0o755)
        if out.is_dir():
            out.rmdir()
        beside.replace(out)
    except OSError as why:
        raise UsageError(f"cannot write to {out}: {why.strerror}") from why
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def refuse(out: Path) -> None:
    """Refuse a place that holds anything.

    Raises:
        UsageError: It does; the message names it.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is no folder; choose another --out")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} holds another run, which stays as it is; choose another --out")
