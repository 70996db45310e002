"""Recognize the run of a language model, without torch."""

from pathlib import Path

from nhin.files import read_folder
from nhin.training.run_dir import find_checkpoint


def is_run(path: Path) -> bool:
    """Return whether the folder of a run, or of a checkpoint, holds a language model."""
    checkpoint = find_checkpoint(path)
    return bool(read_folder(checkpoint, lambda folder: (folder / "tokenizer.json").is_file()))
