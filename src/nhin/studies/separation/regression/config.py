"""The configuration of one experiment of softmax regression."""

import math
from dataclasses import dataclass

from nhin.errors import UsageError
from nhin.ranges import check_float, check_int
from nhin.studies.separation.options import Rounding, Weights

MAX_N, MAX_COLUMNS = 10**7, 10**4
LOW, HIGH, SPIKE = 1.0, 1.4, 4.0


@dataclass(frozen=True, slots=True)
class RegressionConfig:
    """Definitions 3.2 to 3.8: u = Ax / ln n is uniform on [1, 1.4]; in D1 one random entry is 4.

    Args:
        n: Entries, 10 or more.
        m: Random columns y of the last layer.
        tau: The threshold.
        weights: "shared": one y for the four networks; "independent": one for each.

    Raises:
        UsageError: A number is out of range.
    """

    n: int = 1000
    m: int = 7
    tau: float = 0.25
    weights: Weights = "shared"

    def __post_init__(self) -> None:
        check_int("n", self.n, 10, MAX_N)
        check_int("m", self.m, 1, MAX_COLUMNS)
        check_float("tau", self.tau, 0.0, 1.0)

    @property
    def log_n(self) -> float:
        """ln n, the scale of the scores: exp(u ln n) = n^u."""
        return math.log(self.n)

    @property
    def spike_decides(self) -> bool:
        """Whether softmax fires on D1 exactly where y is 1 at the spike, whatever else is drawn."""
        return (1 - self.tau) > self.other_weight * (1 + self.tau)

    @property
    def other_weight(self) -> float:
        """The largest softmax weight of all other entries, relative to the spike's: (n - 1) n^1.4 / n^4."""
        return (self.n - 1) * self.n ** (HIGH - SPIKE)


def columns_for(n: int, rounding: Rounding) -> int:
    """Return m = log n as a whole number.

    Raises:
        UsageError: It is 0.
    """
    m = math.ceil(math.log(n)) if rounding == "ceil" else math.floor(math.log(n))
    if m < 1:
        raise UsageError(f"log n rounds to {m} at n = {n}; give m or a larger n")
    return m
