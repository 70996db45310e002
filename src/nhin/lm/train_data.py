"""The tokens of a recipe: prepared before, or prepared now into the run's folder."""

from pathlib import Path

from nhin.data.text.prepare import prepare
from nhin.data.text.token_dataset import MANIFEST, Corpus, open_tokens
from nhin.lm.recipe import LMDataConfig
from nhin.training.distributed import join_process_group

DEFAULT_SOURCE = "python"


def open_corpus(data: LMDataConfig, out: Path) -> Corpus:
    """Open a recipe's tokens; a text is prepared in ``out/data`` first, once, by the first process.

    Raises:
        DataError: The text is missing, empty, too short or not text.
        UsageError: The folder holds tokens of another text.
    """
    path = None if data.path is None else Path(data.path)
    if path is not None and (path / MANIFEST).is_file():
        return open_tokens(path)
    folder = out / "data"
    with join_process_group() as group:
        if group.is_first:
            prepare(DEFAULT_SOURCE if path is None else str(path), data.tokenizer, folder)
        group.barrier()
    return open_tokens(folder)
