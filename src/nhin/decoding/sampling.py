r"""Sample the next token from logits, filtered in this order:

repetition penalty   divide positive logits of previous tokens by it, multiply negative ones:
                     Keskar et al. 2019, arXiv:1909.05858, sec. 4.1
temperature          divide the logits by it; 0 takes the likeliest token
top-k                keep the k likeliest tokens: Fan et al. 2018, arXiv:1805.04833, sec. 5.1
top-p                keep the fewest tokens whose probabilities sum to p: Holtzman et al. 2019,
                     arXiv:1904.09751, sec. 3.1
min-p                keep tokens with this share of the largest probability: Nguyen et al. 2024,
                     arXiv:2407.01082, sec. 3

Each filter keeps at least one token, the lowest id among equals. One uniform number selects from the
cumulative probabilities by id, so a seed gives the same text whatever the filters' algorithm.

Cost:    O(V) per token; with top-p also a sort of its candidates.
Differs: Keskar et al. divide negative logits too, which makes those tokens likelier.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.errors import Diverged, UsageError

TokenLogits = NDArray[np.floating]
"""One logit per token of the vocabulary; -inf for impossible ones."""

TokenProbs = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids in ascending order, and their probabilities."""

GREEDY_BELOW = 1e-6  # about the precision of float32 logits; a temperature below is 0
_MAX_LOGIT = 1e300


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Settings of sampling.

    Args:
        temperature: 0 takes the likeliest token, 1 samples the model's distribution, more flattens it.
        top_k: Sample from this many of the likeliest tokens; None for all.
        top_p: Sample from the likeliest tokens whose probabilities sum to this.
        min_p: Sample from the tokens with this share of the largest probability.
        repetition_penalty: Above 1 makes previous tokens less likely, below 1 likelier.
        seed: The same seed gives the same text.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        penalty = self.repetition_penalty
        check_settings(
            self,
            ("temperature", 0 <= self.temperature < math.inf, "0 (the likeliest token) or more"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0, 1 at most"),
            ("min_p", 0 <= self.min_p <= 1, "0 to 1"),
            ("repetition_penalty", 0.01 <= penalty <= 100, "0.01 to 100 (1 changes nothing)"),
            ("seed", 0 <= self.seed < 2**64, f"0 to {2**64 - 1}"),
        )

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < GREEDY_BELOW


def check_settings(settings: object, *checks: tuple[str, bool, str], owner: str = "") -> None:
    """Refuse the first setting whose check (name, whether it passes, what is allowed) fails."""
    for name, passes, allowed in checks:
        if not passes:
            raise UsageError(f"{name}{owner} is {getattr(settings, name)}; give {allowed}")


class Sampler:
    """Samples the tokens of one text.

    Args:
        params: The settings.
        previous: The ids of the prompt.
    """

    def __init__(self, params: SamplingParams, previous: Iterable[int] = ()) -> None:
        self.params = params
        self._random = np.random.default_rng(params.seed)
        self._previous = set(previous) if params.repetition_penalty != 1 else None

    def __call__(self, logits: TokenLogits) -> int:
        """Sample the next token.

        Raises:
            Diverged: Logits are NaN or infinite.
        """
        ids, probs = filter_probs(logits, self.params, self._previous or ())
        token = int(ids[0]) if self.params.is_greedy else sample_from(ids, probs, self._random.random())
        if self._previous is not None:
            self._previous.add(token)
        return token


def filter_probs(logits: TokenLogits, params: SamplingParams, previous: Iterable[int] = ()) -> TokenProbs:
    """Return the tokens that pass the filters, and their probabilities.

    Args:
        logits: Of the next token.
        params: The settings.
        previous: Ids to which the repetition penalty applies.

    Raises:
        Diverged: Logits are NaN or infinite.
    """
    values = check_finite(logits)
    with np.errstate(over="ignore"):  # an overflow to -inf is a token that cannot come
        values = penalize_repetition(values, previous, params.repetition_penalty)
        if params.is_greedy:
            return np.array([values.argmax()]), np.ones(1)
        values = (values - values.max()) / params.temperature
    ids = np.arange(len(values)) if params.top_k is None else np.sort(top_k_indices(values, params.top_k))
    weights = np.exp(values[ids])
    if params.top_p < 1:
        inside = top_p_indices(weights / weights.sum(), params.top_p)
        ids, weights = ids[inside], weights[inside]
    if params.min_p > 0:
        inside = weights >= params.min_p * weights.max()
        ids, weights = ids[inside], weights[inside]
    return ids, weights / weights.sum()


def check_finite(logits: TokenLogits) -> NDArray[np.float64]:
    """Return logits as float64.

    Raises:
        Diverged: One is NaN or infinite, or all are -inf.
    """
    values = np.asarray(logits, dtype=np.float64)
    top = values.max(axis=-1, initial=-np.inf)
    if not (np.abs(top) < _MAX_LOGIT).all():
        raise Diverged(
            "the model gives NaN or infinite logits; "
            "its weights are broken, or too large for its dtype: take an earlier checkpoint"
        )
    return values


def penalize_repetition(
    values: NDArray[np.float64], previous: Iterable[int], penalty: float
) -> NDArray[np.float64]:
    """Return logits with those of previous tokens lowered, or raised by a penalty below 1."""
    if penalty == 1:
        return values
    ids = np.fromiter(previous, dtype=np.int64)
    values = values.copy()
    values[ids] = np.where(values[ids] > 0, values[ids] / penalty, values[ids] * penalty)
    return values


def top_k_indices(values: TokenLogits, count: int) -> NDArray[np.int64]:
    """Return the indices of the largest values, largest first, among equals the lowest index first."""
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    smallest = np.partition(values, -count)[-count]
    indices = np.flatnonzero(values >= smallest)
    return indices[np.argsort(-values[indices], kind="stable")][:count]


def top_p_indices(probs: NDArray[np.float64], min_mass: float) -> NDArray[np.int64]:
    """Return the ascending indices of the fewest probabilities that sum to ``min_mass``."""
    # The others are never needed: together they have less than 1 - min_mass.
    candidates = np.flatnonzero(probs >= min(probs.max(), (1 - min_mass) / len(probs)))
    order = candidates[np.argsort(-probs[candidates], kind="stable")]
    before = probs[order].cumsum() - probs[order]
    return np.sort(order[before < min_mass])


def sample_from(ids: NDArray[np.int64], probs: NDArray[np.float64], uniform: float) -> int:
    """Return the id that a uniform number from 0 to below 1 selects from the cumulative probabilities."""
    cumulative = probs.cumsum()
    return int(ids[np.searchsorted(cumulative, uniform * cumulative[-1], side="right")])
