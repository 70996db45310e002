"""Texts to evaluate a language model on: a split of a prepared text, or a text file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.data.text.sources import CorpusSource, read_text
from nhin.data.text.splits import SplitConfig, iter_blocks
from nhin.data.text.token_dataset import Corpus, open_tokens
from nhin.errors import DataError, NhinError, UsageError
from nhin.lm.recipe import LMRecipe
from nhin.lm.train_ngram import TokenReader
from nhin.text.tokenizers import Tokenizer

MAX_TEXT_BYTES = 2**30
DEFAULT_SPLIT = "validation"


@dataclass(frozen=True, slots=True)
class EvalSplit:
    """A text to evaluate on.

    Args:
        name: For tables.
        tokens: Of the run's tokenizer.
        corpus: Source of the n-gram baseline; None where no training text is known.
    """

    name: str
    tokens: TokenReader
    corpus: Corpus | None


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Tokens in memory."""

    ids: NDArray[np.uint32]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)

    def read(self, start: int, stop: int, /) -> NDArray[np.int64]:
        """Return the tokens from ``start`` up to ``stop``."""
        return self.ids[start:stop].astype(np.int64)


def open_eval_split(
    data: Path, tokenizer: Tokenizer, split: str | None = None, train_folders: Iterable[Path] = ()
) -> EvalSplit:
    """Open the text that a run is evaluated on.

    Args:
        data: A folder that ``nhin prepare`` made, or a text file.
        tokenizer: The run's.
        split: Of a prepared text; validation when None.
        train_folders: Where the run's training tokens may be; see ``list_data_folders``.

    Raises:
        DataError: It is missing, not a text, or was prepared with another tokenizer.
        UnknownName: It was prepared without this split.
        UsageError: A split of a text file was requested.
    """
    if data.is_file():
        if split is not None:
            raise UsageError(f"{data} is a text in one piece, without splits; leave out --split")
        return EvalSplit(str(data), encode_file(data, tokenizer), _open_first_match(train_folders, tokenizer))
    if not data.exists():
        raise DataError(f"there is no folder or file {data}")
    corpus = open_tokens(data)
    if corpus.tokenizer.fingerprint != tokenizer.fingerprint:
        raise DataError(
            f"{data} was prepared with another tokenizer ({_describe(corpus.tokenizer)}) than the run's "
            f"({_describe(tokenizer)}); give the text itself"
        )
    split = DEFAULT_SPLIT if split is None else split
    return EvalSplit(f"{split} of {data}", corpus.split(split), corpus)


def encode_file(path: Path, tokenizer: Tokenizer) -> EncodedText:
    """Tokenize a text file, in the blocks that ``nhin prepare`` would split it into.

    Raises:
        DataError: It is not a text, too large, or holds a character that the tokenizer does not know.
    """
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise DataError(f"{path} is over {MAX_TEXT_BYTES >> 30} GiB; turn it into tokens with nhin prepare")
    source = CorpusSource(str(path), lambda: iter([read_text(path)]), single=True)
    blocks = iter_blocks(source, SplitConfig().block)
    try:
        parts = [np.array(tokenizer.encode(text), np.uint32) for block in blocks for text, _ in block]
    except UsageError as why:
        raise DataError(f"the run's tokenizer cannot read {path}: {why}") from why
    return EncodedText(np.concatenate(parts) if parts else np.empty(0, np.uint32))


def list_data_folders(run_dir: Path, recipe: LMRecipe) -> list[Path]:
    """Return the folders where the training tokens of a run, or of a checkpoint, may be."""
    in_recipe = [] if recipe.data.path is None else [Path(recipe.data.path)]
    return [run_dir / "data", run_dir.parent / "data", *in_recipe]


def _open_first_match(folders: Iterable[Path], tokenizer: Tokenizer) -> Corpus | None:
    """Open the first folder that exists and holds tokens of this tokenizer."""
    for folder in folders:
        try:
            corpus = open_tokens(folder)
        except NhinError:
            continue
        if corpus.tokenizer.fingerprint == tokenizer.fingerprint:
            return corpus
    return None


def _describe(tokenizer: Tokenizer) -> str:
    return f"{tokenizer.name}, {tokenizer.fingerprint[:8]}"
