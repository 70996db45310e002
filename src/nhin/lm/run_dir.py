"""Recognize the run of a language model, without torch."""

from pathlib import Path


def is_run(path: Path) -> bool:
    """Return whether the folder of a run, or of a checkpoint, holds a language model."""
    # A process killed while replacing a checkpoint leaves the former one under its other name.
    folders = (path / "checkpoint", path / ".checkpoint.old", path)
    return any((folder / "tokenizer.json").is_file() for folder in folders)
