r"""The task with noise: to tell matrices that hold a spike from those that do not.

.. math::
    A = A_{a} + \sigma N, \qquad N_{ij} \sim \mathcal{N}(0, 1), \qquad a \in \{a_0, a_1\}

in units of :math:`\sqrt{\ln n}`, with :math:`A_a` of Def. 6.1 and the row of its spike uniform. Only the
first column differs between the two, so a detector needs nothing else.

Source:  nhin's own; the paper has no noise and trains nothing.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.ranges import check_float
from nhin.studies.separation.attention_nets.config import AttentionConfig
from nhin.studies.separation.sampling import spawn_generators

NOISY_KINDS = {
    "self": "queries and keys are one matrix",
    "c2": "cross: the queries have no spike",
}
MAX_SIGMA, MAX_N = 100.0, 4096


@dataclass(frozen=True, slots=True)
class NoisyTask:
    """One task.

    Args:
        setting: The sizes, the numbers in the matrices, and whether queries are keys ("self") or matrices of
            their own without a spike ("c2"); its thresholds do not matter.
        sigma: The noise, in units of sqrt(ln n).

    Raises:
        UsageError: A number is out of range, or the task is another one.
    """

    setting: AttentionConfig = field(default_factory=lambda: AttentionConfig(n=96, d=14))
    sigma: float = 0.2

    def __post_init__(self) -> None:
        check_float("sigma", self.sigma, 0.0, MAX_SIGMA)
        if self.setting.kind not in NOISY_KINDS:
            raise UsageError(f"kind is {self.setting.kind}; with noise there are {' and '.join(NOISY_KINDS)}")
        if self.setting.inner != "eye" or self.setting.weights != "shared":
            raise UsageError("the task with noise has X = I to begin with and one y; leave both as they are")
        if self.setting.n > MAX_N:
            raise UsageError(f"n is {self.setting.n}; with noise it may be {MAX_N} at most")


def first_columns(task: NoisyTask, examples: int, seed: SeedSequence) -> NDArray[np.float64]:
    """Draw the first columns of as many matrices of D1 and of D0, in units of sqrt(ln n).

    Returns:
        (2, examples, n), D1 first.
    """
    positions, noise = spawn_generators(seed, 2)
    n = task.setting.n
    columns = task.sigma * noise.standard_normal((2, examples, n))
    rows = positions.integers(n, size=(2, examples))
    for dataset, spike in enumerate(task.setting.spikes):
        columns[dataset, np.arange(examples), rows[dataset]] += spike
    return columns
