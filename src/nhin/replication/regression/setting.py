"""One experiment of softmax regression: the sizes, the threshold, the law of the data."""

import math
from dataclasses import dataclass

from nhin.errors import UsageError
from nhin.replication.bounds import finite, whole
from nhin.replication.choices import Rounding, Weights

LARGEST, MOST_COLUMNS = 10**7, 10**4
LOW, HIGH, SPIKE = 1.0, 1.4, 4.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Definitions 3.2 to 3.8: u = Ax / ln n is uniform on [1, 1.4]; in D1 one place, uniform too, holds 4.

    Args:
        n: Places, 10 or more.
        m: Random columns y of the last layer.
        tau: The threshold.
        weights: "shared": one y for the four networks; "independent": one for each.
    """

    n: int = 1000
    m: int = 7
    tau: float = 0.25
    weights: Weights = "shared"

    def __post_init__(self) -> None:
        """Refuse what the definitions do not allow.

        Raises:
            UsageError: The message names the number and what is allowed.
        """
        whole("n", self.n, 10, LARGEST)
        whole("m", self.m, 1, MOST_COLUMNS)
        finite("tau", self.tau, 0.0, 1.0)

    @property
    def log_n(self) -> float:
        """ln n: softmax is of multiples of it, so that exp(u ln n) = n^u."""
        return math.log(self.n)

    @property
    def spike_decides(self) -> bool:
        """Whether softmax fires on D1 exactly where y is 1 at the spike, whatever else is drawn."""
        return (1 - self.tau) > self.others * (1 + self.tau)

    @property
    def others(self) -> float:
        """What all places but the spike weigh at most, as a share of the spike: of n^4, (n - 1) n^1.4."""
        return (self.n - 1) * self.n ** (HIGH - SPIKE)


def columns_for(n: int, rounding: Rounding) -> int:
    """Return m = log n as a whole number.

    Raises:
        UsageError: No column would be left.
    """
    m = math.ceil(math.log(n)) if rounding == "ceil" else math.floor(math.log(n))
    if m < 1:
        raise UsageError(f"log n rounds to {m} at n = {n}; give m or a larger n")
    return m
