"""A text goes on from counts: a ``Scorer`` of ``lm.generate`` over n-grams."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nhin.lm.ngram import NGram


class Following:
    """Says what may come next in one text; remembers no more of it than n-grams look at."""

    def __init__(self, model: NGram) -> None:
        self.model = model
        self._read: list[int] = []

    def start(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """Read the beginning of a text, which may be empty; return a score per token."""
        self._read = list(ids)
        return self._scores()

    def step(self, id: int) -> NDArray[np.float64]:
        """Read one more token; return a score per token."""
        self._read.append(id)
        return self._scores()

    def _scores(self) -> NDArray[np.float64]:
        self._read = self._read[max(0, len(self._read) - self.model.order + 1) :]
        return np.log(self.model.distribution(self._read))
