"""The tokens of a recipe: prepared before, or prepared now into the run's folder."""

from dataclasses import asdict
from pathlib import Path

from nhin.data.text.prepare import prepare
from nhin.data.text.token_dataset import MANIFEST, Corpus, open_tokens
from nhin.errors import DataError
from nhin.lm.recipe import LMDataConfig
from nhin.training.agreement import check_same, compute_digest
from nhin.training.distributed import join_process_group

DEFAULT_SOURCE = "python"


def open_corpus(data: LMDataConfig, out: Path) -> Corpus:
    """Open a recipe's tokens; a text is prepared in ``out/data`` first, once, by the first process.

    Raises:
        DataError: The text is missing, empty, too short or not text.
            Another process has other tokens.
        UsageError: The folder holds tokens of another text.
    """
    path, folder = None if data.path is None else Path(data.path), out / "data"
    with join_process_group() as group:
        is_prepared = path is not None and (path / MANIFEST).is_file()
        check_same(group, DataError, {"the folder of tokens": "found" if is_prepared else "not found"})
        if path is not None and is_prepared:
            folder = path
        elif group.is_first:
            prepare(DEFAULT_SOURCE if path is None else str(path), data.tokenizer, folder)
        group.barrier()
        corpus = open_tokens(folder)
        check_same(group, DataError, {"the digest of the tokens": compute_digest(asdict(corpus.manifest))})
    return corpus
