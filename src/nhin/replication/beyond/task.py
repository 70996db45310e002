r"""The task with noise: to tell matrices that hold a spike from those that do not, entry by entry noisy.

.. math::
    A = A_{a} + \sigma N, \qquad N_{ij} \sim \mathcal{N}(0, 1), \qquad a \in \{a_0, a_1\}

in units of :math:`\sqrt{\ln n}`, with :math:`A_a` of Def. 6.1 and the row of its spike uniform. Only the
first column differs between the two, so a detector need look at nothing else.

Source:  nhin's own; the paper has no noise and trains nothing.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.replication.attention.setting import Setting
from nhin.replication.bounds import finite

KINDS = {
    "self": "queries and keys are one matrix",
    "c2": "cross: the queries have no spike",
}
LOUDEST, LONGEST = 100.0, 4096


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Args:
        setting: The sizes, the numbers in the matrices, and whether queries are keys ("self") or matrices of
            their own without a spike ("c2"); what it says of thresholds does not matter.
        sigma: The noise, in units of sqrt(ln n).

    Raises:
        UsageError: A number is out of range, or what is asked for is not this task.
    """

    setting: Setting = field(default_factory=lambda: Setting(n=96, d=14))
    sigma: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what is no such task."""
        finite("sigma", self.sigma, 0.0, LOUDEST)
        if self.setting.kind not in KINDS:
            raise UsageError(f"kind is {self.setting.kind}; with noise there are {' and '.join(KINDS)}")
        if self.setting.inner != "eye" or self.setting.weights != "shared":
            raise UsageError("the task with noise has X = I to begin with and one y; leave both as they are")
        if self.setting.n > LONGEST:
            raise UsageError(f"n is {self.setting.n}; with noise it may be {LONGEST} at most")


def first_columns(task: Task, examples: int, seed: SeedSequence) -> NDArray[np.float64]:
    """Draw the first columns of as many matrices of D1 and of D0, in units of sqrt(ln n).

    Returns:
        (2, examples, n), D1 first.
    """
    places, noise = (
        default_rng(child) for child in SeedSequence(seed.entropy, spawn_key=seed.spawn_key).spawn(2)
    )
    n = task.setting.n
    columns = task.sigma * noise.standard_normal((2, examples, n))
    rows = places.integers(n, size=(2, examples))
    for dataset, spike in enumerate(task.setting.spikes):
        columns[dataset, np.arange(examples), rows[dataset]] += spike
    return columns
