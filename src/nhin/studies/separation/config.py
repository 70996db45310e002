"""The configurations of one experiment: with softmax regression, and with attention."""

import math
from dataclasses import dataclass
from typing import Annotated

from nhin.config import check_fields
from nhin.errors import UsageError
from nhin.ranges import Range
from nhin.studies.separation.options import Inner, Kind, Rounding, Weights

LOW, HIGH, SPIKE = 1.0, 1.4, 4.0
_SIZE = Range(0, 1e3)  # of entries


@dataclass(frozen=True, slots=True)
class RegressionConfig:
    """Definitions 3.2 to 3.8: u = Ax / ln n is uniform on [1, 1.4]; in D1 one random entry is 4."""

    n: Annotated[int, Range(10, 10**7)] = 1000  # entries, 10 or more
    m: Annotated[int, Range(1, 10**4)] = 7  # random columns y of the last layer
    tau: Annotated[float, Range(0, 1)] = 0.25  # the threshold
    weights: Weights = "shared"  # "shared": one y for the four networks; "independent": one for each

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def log_n(self) -> float:
        """ln n, the scale of the scores: exp(u ln n) = n^u."""
        return math.log(self.n)

    @property
    def threshold(self) -> float:
        """What an inner product must exceed."""
        return self.tau

    @property
    def spike_decides(self) -> bool:
        """Whether softmax fires on D1 exactly where y is 1 at the spike, whatever else is drawn."""
        return (1 - self.tau) > self.other_weight * (1 + self.tau)

    @property
    def other_weight(self) -> float:
        """The largest softmax weight of all other entries, relative to the spike's: (n - 1) n^1.4 / n^4."""
        return (self.n - 1) * self.n ** (HIGH - SPIKE)


def columns_for(n: int, rounding: Rounding) -> int:
    """Return m = log n as a whole number."""
    m = math.ceil(math.log(n)) if rounding == "ceil" else math.floor(math.log(n))
    if m < 1:
        raise UsageError(f"log n rounds to {m} at n = {n}; give m or a larger n")
    return m


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """Definitions 6.1 and C.1 to C.6: an n x d matrix of one spike, K = d - 2 classes, a constant column."""

    n: Annotated[int, Range(2, 10**9)] = 200  # rows, a multiple of d - 2
    d: Annotated[int, Range(3, 4098)] = 22  # columns, 3 or more
    m: Annotated[int, Range(1, 10**6)] = 15  # random columns y of the last layer
    a0: Annotated[float, _SIZE] = 0.01  # spike of D0, in units of sqrt(ln n), as b and c are
    a1: Annotated[float, _SIZE] = 1.2  # spike of D1
    b: Annotated[float, _SIZE] = 0.2  # the entry in the column of a row's class
    c: Annotated[float, _SIZE] = 0.8  # the constant column
    margin: Annotated[float, _SIZE] = 0.1  # the threshold is (c + margin) sqrt(ln n)
    inner: Inner = "eye"  # X of A1 X A2^T: "eye" for vec(I_d), "ones" for all ones
    kind: Kind = "self"  # "self", or how the queries of cross-attention differ; see ``options.KINDS``
    weights: Weights = "shared"  # "shared": one y for the four networks; "independent": one for each

    def __post_init__(self) -> None:
        check_fields(self)
        if self.b + self.c <= 0:
            raise UsageError("b and c are 0: linear attention would divide by zero, so make one larger")
        if self.n % self.classes:
            below = self.n - self.n % self.classes
            near = f"{below} or {below + self.classes}" if below > 1 else f"{below + self.classes}"
            raise UsageError(
                f"n is {self.n} and d - 2 is {self.classes}: every class needs equally many rows, so make n "
                f"a multiple of d - 2, such as {near}"
            )

    @property
    def classes(self) -> int:
        """K: the number of classes."""
        return self.d - 2

    @property
    def copies(self) -> int:
        """t: the number of rows of a class."""
        return self.n // self.classes

    @property
    def log_n(self) -> float:
        """ln n, the scale of the scores."""
        return math.log(self.n)

    @property
    def threshold(self) -> float:
        """What an inner product must exceed, in units of sqrt(ln n)."""
        return self.c + self.margin

    @property
    def spikes(self) -> tuple[float, float]:
        """The spike of D1 and of D0: the order of the networks."""
        return self.a1, self.a0

    def query_spike(self, a: float) -> float:
        """Return the size of the queries' spike, where they have one."""
        return {"c2": 0.0, "c4": 1.0}.get(self.kind, a)

    @property
    def has_spike_row(self) -> bool:
        """Whether one row of the queries differs from the others by its spike."""
        return self.kind not in ("c2", "c3")
