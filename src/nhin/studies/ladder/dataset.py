"""The text of a ladder: one split to train on, one to choose learning rates on, one to evaluate on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.data.text.token_dataset import Corpus
from nhin.errors import DataError
from nhin.lm.recipe import LMDataConfig
from nhin.lm.train_data import open_corpus
from nhin.lm.train_ngram import TokenReader
from nhin.studies.ladder.settings import LadderSettings

SEARCH_TOKENS = 2**15


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first ``count`` tokens of a split, or all there are."""

    tokens: TokenReader
    count: int

    def __len__(self) -> int:
        """Count them."""
        return min(self.count, len(self.tokens))

    def read(self, start: int, stop: int, /) -> NDArray[np.int64]:
        """Return those from ``start`` up to ``stop``."""
        return self.tokens.read(start, stop)


@dataclass(frozen=True, slots=True)
class LadderData:
    """A prepared text."""

    out: Path  # the folder of the ladder
    corpus: Corpus  # the text; its split ``train`` is trained on
    search_split: TokenReader  # the beginning of the validation split, on which learning rates are chosen
    eval_split: TokenReader  # the split whose nats are reported
    split: str  # its name: ``test``, or ``validation`` where there is no test split


def open_data(settings: LadderSettings, out: Path) -> LadderData:
    """Open the text of a ladder; one that is not tokenized yet is prepared in ``out/data``.

    Raises:
        DataError: The text is missing, empty or too short, or has no validation split.
    """
    corpus = open_corpus(LMDataConfig(settings.data, settings.tokenizer), out)
    splits = {name: split for name, split in corpus.splits.items() if name != "train" and len(split) > 1}
    if "validation" not in splits:
        raise DataError(f"{corpus.folder} has nothing to choose rates on; prepare it with --validation 0.1")
    split = "test" if "test" in splits else "validation"
    return LadderData(out, corpus, Prefix(splits["validation"], SEARCH_TOKENS), splits[split], split)
