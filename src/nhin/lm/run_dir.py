"""Where the run of a language model is; found out without torch."""

from pathlib import Path


def is_run(path: Path) -> bool:
    """Say whether there is a language model in a run's folder, or in a checkpoint's."""
    # A kill while a checkpoint is replaced leaves the one before under its other name.
    places = (path / "checkpoint", path / ".checkpoint.old", path)
    return any((place / "tokenizer.json").is_file() for place in places)
