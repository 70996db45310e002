r"""The task with noise, to tell matrices that hold a spike from those that do not, and detectors for it.

.. math::
    A = A_{a} + \sigma N, \qquad N_{ij} \sim \mathcal{N}(0, 1), \qquad a \in \{a_0, a_1\}

in units of :math:`\sqrt{\ln n}`, with :math:`A_a` of Def. 6.1 and the row of its spike uniform. Only the
first column x differs between the two. The best detector there is, and three that use less of the data:

.. math::
    \log \sum_i e^{(a_1 x_i - a_1^2/2)/\sigma^2} - \log \sum_i e^{(a_0 x_i - a_0^2/2)/\sigma^2} > 0,
    \qquad \max_i x_i, \quad \sum_i x_i^2, \quad \sum_i x_i \ > \theta

Linear attention whose queries do not depend on the
spike uses keys only in sums of products of two, so whatever is trained around it has no more information
than second moments.

Source:  the task is nhin's own; the paper has no noise and trains nothing. No detector errs less often than
         the likelihood ratio: Neyman and Pearson 1933.
Differs: thresholds of the other three are chosen on examples of their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.random import SeedSequence

from nhin.config import check_fields
from nhin.errors import UsageError
from nhin.ranges import Range, check_int
from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.outcomes import Values
from nhin.studies.separation.samples import spawn_generators

NOISY_KINDS = {"self": "queries and keys are one matrix", "c2": "cross: the queries have no spike"}
MAX_N = 4096
SIGMA = Range(0, 100)
MAX_NUMBERS = 1 << 26  # drawn at once: half a gigabyte
MIN_SIGMA = 1e-6  # below it the formula is replaced by its limit


@dataclass(frozen=True, slots=True)
class NoisyTask:
    """One task: the data, whose thresholds do not matter, and the noise in units of sqrt(ln n)."""

    setting: AttentionConfig = field(default_factory=lambda: AttentionConfig(n=96, d=14))
    sigma: Annotated[float, SIGMA] = 0.2

    def __post_init__(self) -> None:
        check_fields(self)
        if self.setting.kind not in NOISY_KINDS:
            raise UsageError(f"kind is {self.setting.kind}; with noise there are {' and '.join(NOISY_KINDS)}")
        if self.setting.inner != "eye" or self.setting.weights != "shared":
            raise UsageError("the task with noise has X = I to begin with and one y; leave both as they are")
        if self.setting.n > MAX_N:
            raise UsageError(f"n is {self.setting.n}; with noise it may be {MAX_N} at most")


def first_columns(task: NoisyTask, examples: int, seed: SeedSequence) -> Values:
    """Draw first columns of D1, then of D0, in units of sqrt(ln n): (2, examples, n)."""
    positions, noise = spawn_generators(seed, 2)
    n = task.setting.n
    columns = task.sigma * noise.standard_normal((2, examples, n))
    rows = positions.integers(n, size=(2, examples))
    for dataset, spike in enumerate(task.setting.spikes):
        columns[dataset, np.arange(examples), rows[dataset]] += spike
    return columns


def bayes(x: Values, task: NoisyTask) -> Values:
    """Return the log likelihood ratio of first columns (..., n) times sigma squared; its sign matters."""

    def log_likelihood(a: float) -> Values:
        exponents = a * x - a * a / 2
        top = exponents.max(-1, keepdims=True)
        if task.sigma < MIN_SIGMA:
            return top[..., 0]
        rest = np.exp((exponents - top) / task.sigma**2).sum(-1)
        return top[..., 0] + task.sigma**2 * np.log(rest)

    one, zero = (log_likelihood(a) for a in task.setting.spikes)
    return one - zero


@dataclass(frozen=True, slots=True)
class SpikeDetector:
    """One detector: larger scores mean a spike is likelier; a threshold of None is chosen on examples."""

    title: str
    score: Callable[[Values, NoisyTask], Values]
    threshold: float | None = None


DETECTORS = {
    "bayes": SpikeDetector("Bayes", bayes, 0.0),
    "maximum": SpikeDetector("maximum", lambda x, task: x.max(-1)),
    "second-moment": SpikeDetector("second moment", lambda x, task: np.square(x).mean(-1)),
    "mean": SpikeDetector("mean", lambda x, task: x.mean(-1)),
}


def measure_detectors(task: NoisyTask, examples: int = 20000, seed: int = 0) -> dict[str, float]:
    """Return each detector's accuracy on ``examples`` of D1 and of D0; thresholds are chosen on as many."""
    check_int("examples", examples, 1, 10**7)
    check_int("seed", seed, 0, 2**63)
    if 2 * examples * task.setting.n > MAX_NUMBERS:
        raise UsageError(
            f"{examples} examples of n = {task.setting.n} are more than {MAX_NUMBERS} numbers; give fewer"
        )
    training, test = (first_columns(task, examples, child) for child in SeedSequence(seed).spawn(2))
    accuracies = {}
    for name, detector in DETECTORS.items():
        threshold = detector.threshold
        if threshold is None:
            threshold = choose_threshold(*detector.score(training, task))
        ones, zeros = detector.score(test, task)
        accuracies[name] = accuracy(ones, zeros, threshold)
    return accuracies


def accuracy(ones: Values, zeros: Values, threshold: float) -> float:
    """Return how often scores of D1 exceed a threshold and those of D0 do not, with equal weight."""
    return float(((ones > threshold).mean() + (zeros <= threshold).mean()) / 2)


def choose_threshold(ones: Values, zeros: Values) -> float:
    """Return a threshold of the best accuracy: midway between two scores, or infinite."""
    scores = np.concatenate([ones, zeros])
    gain = np.concatenate([np.full(len(ones), -1.0 / len(ones)), np.full(len(zeros), 1.0 / len(zeros))])
    order = np.argsort(scores, kind="stable")
    scores, gains = scores[order], np.concatenate([[0.0], np.cumsum(gain[order])])
    distinct = np.concatenate([[True], scores[1:] > scores[:-1], [True]])
    best = int(np.argmax(np.where(distinct, gains, -math.inf)))
    if best in (0, len(scores)):
        return math.inf if best else -math.inf
    return float((scores[best - 1] + scores[best]) / 2)
