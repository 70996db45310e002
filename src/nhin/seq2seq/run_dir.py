"""Recognize the run of an encoder-decoder model, without torch."""

from pathlib import Path

from nhin.files import read_folder
from nhin.training.run_dir import find_checkpoint


def is_seq2seq_run(path: Path) -> bool:
    """Return whether the folder of a run, or of a checkpoint, holds an encoder-decoder model."""
    return bool(read_folder(find_checkpoint(path), lambda folder: (folder / "vocab.json").is_file()))
