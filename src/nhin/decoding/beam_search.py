r"""Beam search: several texts are read on at once, and the likeliest are kept.

.. math::
    s(y) = \frac{\log p(y)}{lp(y)}, \qquad lp(y) = \left(\frac{5 + |y|}{6}\right)^\alpha

A text that ends keeps its place among the beams and is read on no more; with one beam this is the greedy
answer, and with as many beams as there are texts it is the best of all.

Cost:    as many rows as beams in every step of the model.
Source:  Wu et al. 2016, arXiv:1609.08144, sec. 7, eq. (14), without coverage; that a text which ends takes
         its beam with it: Sutskever et al. 2014, arXiv:1409.3215, sec. 3.2.
Differs: nothing is pruned by how far it is behind.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nhin.decoding.sampling import TokenLogits, check_finite, top_k_indices
from nhin.errors import UsageError

MAX_BEAMS = 1024


@dataclass(frozen=True, slots=True)
class BeamSearchConfig:
    """How widely is searched, and for what.

    Args:
        width: Texts kept at every step.
        tokens: Most tokens of a text.
        alpha: How much longer texts are favoured; with 0 the likeliest wins, which is often the shortest.
        stop: Ids that end a text.
    """

    width: int = 4
    tokens: int = 100
    alpha: float = 0.6
    stop: Collection[int] = ()

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: The message names the setting, its value and what is allowed.
        """
        for name, fits, allowed in (
            ("width", 1 <= self.width <= MAX_BEAMS, f"1 to {MAX_BEAMS}"),
            ("tokens", self.tokens >= 1, "1 or more"),
            ("alpha", 0 <= self.alpha <= 10, "0 to 10"),
        ):
            if not fits:
                raise UsageError(f"{name} of the beams is {getattr(self, name)}; give {allowed}")


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text that was found.

    Args:
        ids: Its tokens, with the one that ended it.
        log_prob: Its log-probability after what was read before.
        score: That over the length penalty; what texts are ranked by.
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float


class BeamScorer(Protocol):
    """Texts that are read on together, one a beam."""

    def scores(self, ids: NDArray[np.int64]) -> TokenLogits:
        """Read one id in every row; return scores, rows x vocabulary."""
        ...

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Let row i continue what row ``rows[i]`` was."""
        ...


def search_beams(first_logits: TokenLogits, scorer: BeamScorer, config: BeamSearchConfig) -> list[Hypothesis]:
    """Return the texts that were kept, best first.

    Args:
        first_logits: The scores of the first token.
        scorer: ``beams.width`` rows that have read what comes before it.
        config: How.

    Raises:
        Diverged: The scores are not numbers.
    """
    live, sums, done = np.zeros((1, 0), dtype=np.int64), np.zeros(1), []
    scores = first_logits[None]
    for length in range(1, config.tokens + 1):
        if length > 1:
            scores = scorer.scores(_pad_rows(live[:, -1], config.width))[: len(live)]
        places, sums = _top_continuations(sums[:, None] + log_softmax(scores), config.width - len(done))
        row, chosen = np.divmod(places, scores.shape[1])
        live = np.concatenate([live[row], chosen[:, None]], axis=1)
        ends = np.isin(chosen, list(config.stop)) | (length == config.tokens)
        done += [
            _make_hypothesis(text, log_prob, config.alpha)
            for text, log_prob in zip(live[ends], sums[ends], strict=True)
        ]
        live, sums = live[~ends], sums[~ends]
        if not len(live):
            break
        if length < config.tokens:
            scorer.reorder(_pad_rows(row[~ends], config.width))
    return sorted(done, key=lambda found: -found.score)


def log_softmax(scores: TokenLogits) -> NDArray[np.float64]:
    """Return log-probabilities over the last axis.

    Raises:
        Diverged: The scores are not numbers.
    """
    values = check_finite(scores)
    values = values - values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def _top_continuations(
    sums: NDArray[np.float64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the best possible continuations as places in the flat table, and their sums."""
    flat = sums.ravel()
    places = top_k_indices(flat, width)
    places = places[flat[places] > -np.inf]
    return places, flat[places]


def _make_hypothesis(text: NDArray[np.int64], log_prob: float, alpha: float) -> Hypothesis:
    penalty = ((5 + len(text)) / 6) ** alpha
    return Hypothesis(tuple(text.tolist()), float(log_prob), float(log_prob) / penalty)


def _pad_rows(values: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Repeat the first value for beams that have ended: a model reads as many rows at every step."""
    return np.concatenate([values, np.full(width - len(values), values[0])])
