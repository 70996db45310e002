"""Files that are there whole or not at all, whenever the power goes."""

import os
from pathlib import Path

from nhin.errors import CheckpointError


def write(path: Path, data: bytes) -> None:
    """Write beside, have it on the disk, then rename.

    Raises:
        CheckpointError: There is no room or no permission; what was there is intact.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as why:
        raise CheckpointError(f"cannot write {path}: {why.strerror or why}") from why
