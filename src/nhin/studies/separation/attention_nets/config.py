"""The configuration of one experiment with attention."""

import math
from dataclasses import dataclass
from typing import get_args

from nhin.errors import UnknownName, UsageError
from nhin.ranges import check_float, check_int
from nhin.studies.separation.options import Inner, Kind, Weights

MAX_N, MAX_D, MAX_COLUMNS = 10**9, 4098, 10**6


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """Definitions 6.1 and C.1 to C.6: an n x d matrix of one spike, K = d - 2 classes, a constant column.

    Args:
        n: Rows, a multiple of d - 2.
        d: Columns, 3 or more.
        m: Random columns y of the last layer.
        a0: Spike of D0, in units of sqrt(ln n), as b and c are.
        a1: Spike of D1.
        b: The entry in the column of a row's class.
        c: The constant column.
        margin: The threshold is (c + margin) sqrt(ln n).
        inner: X of A1 X A2^T: "eye" for vec(I_d), "ones" for all ones.
        kind: "self", or how the queries of cross-attention differ; see ``options.KINDS``.
        weights: "shared": one y for the four networks; "independent": one for each.

    Raises:
        UsageError: A number is out of range.
        UnknownName: An option has no such value.
    """

    n: int = 200
    d: int = 22
    m: int = 15
    a0: float = 0.01
    a1: float = 1.2
    b: float = 0.2
    c: float = 0.8
    margin: float = 0.1
    inner: Inner = "eye"
    kind: Kind = "self"
    weights: Weights = "shared"

    def __post_init__(self) -> None:
        check_int("n", self.n, 2, MAX_N)
        check_int("d", self.d, 3, MAX_D)
        check_int("m", self.m, 1, MAX_COLUMNS)
        for name in ("a0", "a1", "b", "c", "margin"):
            check_float(name, getattr(self, name), 0.0, 1e3)
        if self.b + self.c <= 0:
            raise UsageError("b and c are 0: linear attention would divide by zero, so make one larger")
        if self.n % self.classes:
            below = self.n - self.n % self.classes
            near = f"{below} or {below + self.classes}" if below > 1 else f"{below + self.classes}"
            raise UsageError(
                f"n is {self.n} and d - 2 is {self.classes}: every class needs equally many rows, so make n "
                f"a multiple of d - 2, such as {near}"
            )
        for name, kind in (("inner", Inner), ("kind", Kind), ("weights", Weights)):
            if getattr(self, name) not in get_args(kind):
                raise UnknownName(name, str(getattr(self, name)), get_args(kind))

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
