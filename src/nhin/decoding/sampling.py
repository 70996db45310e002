r"""From scores to a token: what is left to chance, and how much.

In this order, each leaving at least one token, the lowest id where scores are equal:

repetition penalty   scores of tokens that were read are divided by it if positive, multiplied if negative:
                     Keskar et al. 2019, arXiv:1909.05858, sec. 4.1
temperature          scores are divided by it; 0 takes the likeliest token
top-k                the k likeliest: Fan et al. 2018, arXiv:1805.04833, sec. 5.1
top-p                the fewest tokens that together are at least so likely: Holtzman et al. 2019,
                     arXiv:1904.09751, sec. 3.1
min-p                tokens at least so likely, as a share of the likeliest: Nguyen et al. 2024,
                     arXiv:2407.01082, sec. 3

One uniform number falls on the sum of what is left, laid out by id, so a seed gives the same text however
the filters compute.

Cost:    time O(V) a token; with top-p also the sort of what may be in it.
Differs: Keskar et al. divide negative scores too, which makes such tokens likelier.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.errors import Diverged, UsageError

TokenLogits = NDArray[np.floating]
"""One score per token of the vocabulary; -inf for what cannot come."""

TokenProbs = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids in rising order, and the probability of each."""

GREEDY_BELOW = 1e-6  # what scores of float32 are told apart by; closer to 0 is 0
_MAX_LOGIT = 1e300


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen.

    Args:
        temperature: 0 takes the likeliest token each time, 1 what the model says; above, rarer ones.
        top_k: Choose among so many of the likeliest; None for all.
        top_p: Choose among the likeliest that together have this probability.
        min_p: Choose among those that have this share of the likeliest one's probability.
        repetition_penalty: Makes what was read already less likely above 1, likelier below.
        seed: The same one gives the same text.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: The message names the setting, its value and what is allowed.
        """
        penalty = self.repetition_penalty
        for name, fits, allowed in (
            ("temperature", 0 <= self.temperature < math.inf, "0 (the likeliest token) or more"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0, 1 at most"),
            ("min_p", 0 <= self.min_p <= 1, "0 to 1"),
            ("repetition_penalty", 0.01 <= penalty <= 100, "0.01 to 100 (1 changes nothing)"),
            ("seed", 0 <= self.seed < 2**64, f"0 to {2**64 - 1}"),
        ):
            if not fits:
                raise UsageError(f"{name} is {getattr(self, name)}; give {allowed}")

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.temperature < GREEDY_BELOW


class Sampler:
    """Chooses one token after another for one text.

    Args:
        params: How.
        previous: The ids that were read before.
    """

    def __init__(self, params: SamplingParams, previous: Iterable[int] = ()) -> None:
        self.params = params
        self._random = np.random.default_rng(params.seed)
        self._previous = set(previous) if params.repetition_penalty != 1 else None

    def __call__(self, scores: TokenLogits) -> int:
        """Choose the next token.

        Raises:
            Diverged: The scores are not numbers.
        """
        ids, shares = filter_probs(scores, self.params, self._previous or ())
        chosen = int(ids[0]) if self.params.is_greedy else sample_from(ids, shares, self._random.random())
        if self._previous is not None:
            self._previous.add(chosen)
        return chosen


def filter_probs(scores: TokenLogits, params: SamplingParams, previous: Iterable[int] = ()) -> TokenProbs:
    """Return the tokens that may come next, and how likely each is.

    Args:
        scores: What the model says.
        params: What is filtered.
        previous: Ids that the repetition penalty falls on.

    Raises:
        Diverged: The scores are not numbers.
    """
    values = check_finite(scores)
    with np.errstate(over="ignore"):  # what is too far down to be told is as if it could not come
        values = penalize_repetition(values, previous, params.repetition_penalty)
        if params.is_greedy:
            return np.array([values.argmax()]), np.ones(1)
        values = (values - values.max()) / params.temperature
    ids = np.arange(len(values)) if params.top_k is None else np.sort(top_k_indices(values, params.top_k))
    shares = np.exp(values[ids])
    if params.top_p < 1:
        inside = top_p_indices(shares / shares.sum(), params.top_p)
        ids, shares = ids[inside], shares[inside]
    if params.min_p > 0:
        inside = shares >= params.min_p * shares.max()
        ids, shares = ids[inside], shares[inside]
    return ids, shares / shares.sum()


def check_finite(scores: TokenLogits) -> NDArray[np.float64]:
    """Return scores as float64, or say that the model is broken.

    Raises:
        Diverged: One is NaN or infinite, or nothing can come.
    """
    values = np.asarray(scores, dtype=np.float64)
    top = values.max(axis=-1, initial=-np.inf)
    if not (np.abs(top) < _MAX_LOGIT).all():
        raise Diverged(
            "the model gives NaN or infinity instead of scores; "
            "its weights are broken, or too large for its numbers: take an earlier checkpoint"
        )
    return values


def penalize_repetition(
    values: NDArray[np.float64], previous: Iterable[int], penalty: float
) -> NDArray[np.float64]:
    """Return scores with those of tokens that were read made smaller, or larger with a penalty below 1."""
    if penalty == 1:
        return values
    ids = np.fromiter(previous, dtype=np.int64)
    values = values.copy()
    values[ids] = np.where(values[ids] > 0, values[ids] / penalty, values[ids] * penalty)
    return values


def top_k_indices(values: TokenLogits, count: int) -> NDArray[np.int64]:
    """Return the places of the largest values, largest first and the first place first among equals."""
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    least = np.partition(values, -count)[-count]
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:count]


def top_p_indices(probs: NDArray[np.float64], min_mass: float) -> NDArray[np.int64]:
    """Return the places, rising, of the fewest shares that sum to ``min_mass``."""
    # The rest cannot be needed: all of it together is less than what may be left out.
    able = np.flatnonzero(probs >= min(probs.max(), (1 - min_mass) / len(probs)))
    order = able[np.argsort(-probs[able], kind="stable")]
    before = probs[order].cumsum() - probs[order]
    return np.sort(order[before < min_mass])


def sample_from(ids: NDArray[np.int64], probs: NDArray[np.float64], uniform: float) -> int:
    """Return the id on whose share of the sum a number from 0 to below 1 falls."""
    reached = probs.cumsum()
    return int(ids[np.searchsorted(reached, uniform * reached[-1], side="right")])
