"""What a climb stands on: one text, in three parts with a task each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.data.text.token_dataset import Corpus
from nhin.errors import DataError
from nhin.lm.ladder.settings import Settings
from nhin.lm.recipe import LMDataConfig
from nhin.lm.train_data import open_corpus
from nhin.lm.train_ngram import TokenReader

TUNED_ON = 2**15


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first ``count`` tokens of others, or all there are."""

    tokens: TokenReader
    count: int

    def __len__(self) -> int:
        """Count them."""
        return min(self.count, len(self.tokens))

    def read(self, start: int, stop: int, /) -> NDArray[np.int64]:
        """Return those from ``start`` up to ``stop``."""
        return self.tokens.read(start, stop)


@dataclass(frozen=True, slots=True)
class Ground:
    """A prepared text.

    Args:
        out: The folder of the climb.
        corpus: The text; ``train`` is trained on.
        tuned: Rates are chosen on it: the beginning of the validation split.
        held: All that is told is measured on the whole of it.
        split: What it is: ``test``, on which nothing is chosen, or ``validation`` where there is no test.
    """

    out: Path
    corpus: Corpus
    tuned: TokenReader
    held: TokenReader
    split: str


def ground(settings: Settings, out: Path) -> Ground:
    """Open the text of a climb; one that has no tokens yet gets them in ``out/data``.

    Raises:
        DataError: The text is missing, empty or too short, or nothing of it is held out.
    """
    corpus = open_corpus(LMDataConfig(settings.data, settings.tokenizer), out)
    held = {name: split for name, split in corpus.splits.items() if name != "train" and len(split) > 1}
    if "validation" not in held:
        raise DataError(f"{corpus.folder} has nothing to choose rates on; prepare it with --validation 0.1")
    split = "test" if "test" in held else "validation"
    return Ground(out, corpus, Beginning(held["validation"], TUNED_ON), held[split], split)
