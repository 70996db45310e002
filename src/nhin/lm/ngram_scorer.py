"""A text goes on from counts: a ``Scorer`` of ``lm.generate`` over n-grams."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nhin.lm.ngram import NGram


class NGramScorer:
    """Says what may come next in one text; remembers no more of it than n-grams look at."""

    def __init__(self, model: NGram) -> None:
        self.model = model
        self._context: list[int] = []

    def start(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """Read the beginning of a text, which may be empty; return a score per token."""
        self._context = list(ids)
        return self._log_probs()

    def step(self, token: int) -> NDArray[np.float64]:
        """Read one more token; return a score per token."""
        self._context.append(token)
        return self._log_probs()

    def _log_probs(self) -> NDArray[np.float64]:
        self._context = self._context[max(0, len(self._context) - self.model.order + 1) :]
        return np.log(self.model.next_token_probs(self._context))
