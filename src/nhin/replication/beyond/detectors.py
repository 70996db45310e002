r"""What can be told of the task with noise: the best detector there is, and three that see less.

.. math::
    \log \sum_i e^{(a_1 x_i - a_1^2/2)/\sigma^2} - \log \sum_i e^{(a_0 x_i - a_0^2/2)/\sigma^2} > 0,
    \qquad \max_i x_i, \quad \sum_i x_i^2, \quad \sum_i x_i \ > \theta

for the first column x; the spike stands in each row alike. Linear attention whose queries do not depend on
the spike sees keys only through sums of products of two, so whatever is trained around it knows no more than
second moments.

Source:  Neyman and Pearson 1933: no detector errs less often than the ratio of likelihoods.
Differs: thresholds of the other three are chosen on examples of their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.replication.beyond.task import Task, first_columns
from nhin.replication.bounds import whole

Columns = NDArray[np.float64]
Scores = NDArray[np.float64]

HELD = 1 << 26  # most numbers drawn at once: half a gigabyte
QUIET = 1e-6  # less noise than this is none


def bayes(x: Columns, task: Task) -> Scores:
    """Return the logarithm of the ratio of likelihoods, times sigma squared: only its sign matters.

    Args:
        x: (..., n) first columns.
        task: Gives sigma and both spikes; without noise, the limit of little noise.
    """

    def likely(a: float) -> Scores:
        exponents = a * x - a * a / 2
        top = exponents.max(-1, keepdims=True)
        if task.sigma < QUIET:
            return top[..., 0]
        rest = np.exp((exponents - top) / task.sigma**2).sum(-1)
        return top[..., 0] + task.sigma**2 * np.log(rest)

    one, zero = (likely(a) for a in task.setting.spikes)
    return one - zero


def maximum(x: Columns, task: Task) -> Scores:
    """Return the largest entry."""
    return x.max(-1)


def second_moment(x: Columns, task: Task) -> Scores:
    """Return the mean square."""
    return np.square(x).mean(-1)


def mean(x: Columns, task: Task) -> Scores:
    """Return the mean."""
    return x.mean(-1)


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector.

    Args:
        title: Its name in plain words.
        score: Larger where a spike is likelier.
        level: What a score must exceed; None where that is to be chosen on examples.
    """

    title: str
    score: Callable[[Columns, Task], Scores]
    level: float | None = None


DETECTORS = {
    "bayes": Detector("Bayes", bayes, 0.0),
    "maximum": Detector("maximum", maximum),
    "second-moment": Detector("second moment", second_moment),
    "mean": Detector("mean", mean),
}


def accuracies(task: Task, examples: int = 20000, seed: int = 0) -> dict[str, float]:
    """Return how often each detector is right, by name.

    Args:
        task: The task.
        examples: Of D1, of D0, and as many of each again for choosing thresholds.
        seed: Of all that is drawn.

    Raises:
        UsageError: A number is out of range.
    """
    whole("examples", examples, 1, 10**7)
    whole("seed", seed, 0, 2**63)
    if 2 * examples * task.setting.n > HELD:
        raise UsageError(
            f"{examples} examples of n = {task.setting.n} are more than {HELD} numbers; give fewer"
        )
    chosen, tried = (first_columns(task, examples, own) for own in SeedSequence(seed).spawn(2))
    right = {}
    for name, detector in DETECTORS.items():
        level = detector.level
        if level is None:
            level = threshold(*detector.score(chosen, task))
        ones, zeros = detector.score(tried, task)
        right[name] = accuracy(ones, zeros, level)
    return right


def accuracy(ones: Scores, zeros: Scores, level: float) -> float:
    """Return how often scores of D1 exceed a level and those of D0 do not, both counting alike."""
    return float(((ones > level).mean() + (zeros <= level).mean()) / 2)


def threshold(ones: Scores, zeros: Scores) -> float:
    """Return a level that is right most often: midway between two scores, or beyond all."""
    scores = np.concatenate([ones, zeros])
    gain = np.concatenate([np.full(len(ones), -1.0 / len(ones)), np.full(len(zeros), 1.0 / len(zeros))])
    order = np.argsort(scores, kind="stable")
    scores, gained = scores[order], np.concatenate([[0.0], np.cumsum(gain[order])])
    apart = np.concatenate([[True], scores[1:] > scores[:-1], [True]])
    best = int(np.argmax(np.where(apart, gained, -math.inf)))
    if best in (0, len(scores)):
        return math.inf if best else -math.inf
    return float((scores[best - 1] + scores[best]) / 2)
