r"""Beam search: extend several texts at once, and keep the likeliest.

.. math::
    s(y) = \frac{\log p(y)}{lp(y)} + cp(y), \qquad lp(y) = \left(\frac{5 + |y|}{6}\right)^\alpha, \qquad
    cp(y) = \beta \sum_s \log \min\left(\sum_t a_{ts}, 1\right)

A finished text keeps its beam and is not extended. One beam gives the greedy answer, as many beams as there
are texts give the best of all. The coverage cp, of models that attend to a source with weights a, prefers
texts that attend to all of it.

Cost:    a batch of ``width`` rows in every step of the model.
Source:  Wu et al. 2016, arXiv:1609.08144, sec. 7, eq. (14); a finished text keeps its
         beam: Sutskever et al. 2014, arXiv:1409.3215, sec. 3.2.
Differs: no pruning by distance from the best; a sum of weights counts as 1e-9 at least.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nhin.decoding.sampling import TokenLogits, check_finite, check_settings, top_k_indices
from nhin.errors import UsageError

MAX_BEAMS = 1024
_MIN_COVERAGE = 1e-9


@dataclass(frozen=True, slots=True)
class BeamSearchConfig:
    """Settings of beam search.

    Args:
        width: Texts kept at every step.
        tokens: Maximum number of tokens in a text.
        alpha: Preference for longer texts; with 0 the likeliest wins, which is often the shortest.
        stop: Ids that end a text.
        beta: Preference for texts that attend to all of a source; not 0 for scorers that know ``coverage``.
    """

    width: int = 4
    tokens: int = 100
    alpha: float = 0.6
    stop: Collection[int] = ()
    beta: float = 0.0

    def __post_init__(self) -> None:
        check_settings(
            self,
            ("width", 1 <= self.width <= MAX_BEAMS, f"1 to {MAX_BEAMS}"),
            ("tokens", self.tokens >= 1, "1 or more"),
            ("alpha", 0 <= self.alpha <= 10, "0 to 10"),
            ("beta", 0 <= self.beta <= 10, "0 to 10"),
            owner=" of the beams",
        )


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text that was found.

    Args:
        ids: Its tokens, including the stop token.
        log_prob: Its log-probability given the prompt.
        score: The log-probability over the length penalty, by which texts are ranked.
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float


class BeamScorer(Protocol):
    """A model that scores one text per beam, in a batch."""

    def scores(self, ids: NDArray[np.int64]) -> TokenLogits:
        """Append one id to every row; return logits, rows x vocabulary."""
        ...

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Replace the text of row i by that of row ``rows[i]``."""
        ...


@runtime_checkable
class CoverageScorer(BeamScorer, Protocol):
    """A model that attends to a source."""

    def coverage(self) -> NDArray[np.float64]:
        """Return the sum of the weights that each row has given to each position, rows x source."""
        ...


def search_beams(first_logits: TokenLogits, scorer: BeamScorer, config: BeamSearchConfig) -> list[Hypothesis]:
    """Return the finished texts, best first.

    Args:
        first_logits: The logits of the first token.
        scorer: ``config.width`` rows that hold the prompt.
        config: The settings.

    Raises:
        Diverged: Logits are NaN or infinite.
        UsageError: ``beta`` is given and the scorer attends to no source.
    """
    if config.beta and not isinstance(scorer, CoverageScorer):
        raise UsageError("beta is for models that attend to a source; this one does not")
    live, sums, done = np.zeros((1, 0), dtype=np.int64), np.zeros(1), []
    logits = first_logits[None]
    for length in range(1, config.tokens + 1):
        if length > 1:
            logits = scorer.scores(_pad_rows(live[:, -1], config.width))[: len(live)]
        sums = (sums[:, None] + log_softmax(logits)).ravel()
        top = top_k_indices(sums, config.width - len(done))
        top = top[sums[top] > -np.inf]
        sums = sums[top]
        row, ids = np.divmod(top, logits.shape[1])
        live = np.concatenate([live[row], ids[:, None]], axis=1)
        ends = np.isin(ids, list(config.stop)) | (length == config.tokens)
        penalty = ((5 + length) / 6) ** config.alpha
        covered = _penalize_coverage(scorer, config.beta, row[ends])
        for text, log_prob, more in zip(live[ends].tolist(), sums[ends].tolist(), covered, strict=True):
            done.append(Hypothesis(tuple(text), log_prob, log_prob / penalty + more))
        live, sums = live[~ends], sums[~ends]
        if not len(live):
            break
        if length < config.tokens:
            scorer.reorder(_pad_rows(row[~ends], config.width))
    return sorted(done, key=lambda hypothesis: -hypothesis.score)


def _penalize_coverage(scorer: BeamScorer, beta: float, rows: NDArray[np.int64]) -> list[float]:
    """Return the coverage penalties of texts that continue some rows; zeros without ``beta``."""
    if not beta or not isinstance(scorer, CoverageScorer):
        return [0.0] * len(rows)
    sums = scorer.coverage()[rows]
    return (beta * np.log(np.clip(sums, _MIN_COVERAGE, 1.0)).sum(-1)).tolist()


def log_softmax(logits: TokenLogits) -> NDArray[np.float64]:
    """Return log-probabilities over the last axis.

    Raises:
        Diverged: Logits are NaN or infinite.
    """
    values = check_finite(logits)
    values = values - values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def _pad_rows(values: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Repeat the first value for finished beams, so that every step has the same number of rows."""
    return np.concatenate([values, np.full(width - len(values), values[0])])
