"""Files of a climb: there whole or not at all, and read as if a stranger had written them."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from nhin.config import from_dict
from nhin.errors import CheckpointError, NhinError
from nhin.files import write_atomic

T = TypeVar("T")
_LARGEST = 2**26


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write plain values; see ``training.whole``."""
    write_atomic(path, (json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode())


def keep(path: Path, value: Any) -> None:
    """Write a dataclass of plain values; the inverse of ``kept``."""
    write_json(path, asdict(value))


def kept(cls: type[T], path: Path) -> T | None:
    """Read a dataclass; None where there is no such file.

    Raises:
        CheckpointError: The file is torn or foreign.
    """
    try:
        if not path.exists():
            return None
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(f"{path} is over {_LARGEST >> 20} MiB, which nhin never writes")
        tree = json.loads(path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite)
        if not isinstance(tree, dict):
            raise CheckpointError(f"{path} is torn; delete it to have it made again")
        return from_dict(cls, tree, str(path))
    except (OSError, ValueError, RecursionError, NhinError) as why:
        if isinstance(why, CheckpointError):
            raise
        raise CheckpointError(f"{path} is torn; delete it to have it made again: {why}") from why


def _finite(words: str) -> float:
    if not math.isfinite(value := float(words)):
        raise ValueError(f"{words[:20]} is no number")
    return value
