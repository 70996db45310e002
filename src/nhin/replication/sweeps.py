"""The published sweeps: which points each family has, and what is held fixed."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nhin.errors import UnknownName
from nhin.replication.attention.setting import Setting as Attention
from nhin.replication.bounds import finite
from nhin.replication.choices import CrossDef, Inner, Rounding, Weights
from nhin.replication.regression.setting import Setting as Regression
from nhin.replication.regression.setting import columns_for

Family = Literal["regression", "self", "cross"]
FAMILIES: tuple[Family, ...] = ("regression", "self", "cross")
INNERS: tuple[Inner, ...] = ("eye", "ones")
DELTA, LEAST_COLUMNS = 0.01, 15
REPEATS = {"regression": 1000, "self": 100, "cross": 100}


@dataclass(frozen=True, slots=True)
class Choices:
    """What the paper leaves open; see ``choices.AMBIGUITIES``.

    Args:
        tau: Threshold of the regression.
        margin: That of attention is (c + margin) sqrt(ln n).
        rounding: How m = log n becomes a whole number.
        tied: b is 1 - c, not .2.
        weights: Whether the four networks share y.
        cross: The definition of cross-attention.
        independent: The sweep over m of the regression draws anew at every point.
    """

    tau: float = 0.25
    margin: float = 0.1
    rounding: Rounding = "ceil"
    tied: bool = False
    weights: Weights = "shared"
    cross: CrossDef = "c1"
    independent: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, before anything is computed."""
        finite("tau", self.tau, 0.0, 1.0)
        finite("margin", self.margin, 0.0, 1e3)


@dataclass(frozen=True, slots=True)
class Point:
    """One experiment of one sweep.

    Args:
        family: Of the experiment.
        sweep: What is swept.
        x: Its value here.
        setting: Everything that is set.
        place: (family, X, sweep, point) as numbers: what the seed of its draws is made of.
    """

    family: Family
    sweep: str
    x: float
    setting: Attention | Regression
    place: tuple[int, int, int, int]

    @property
    def inner(self) -> str:
        """X, or nothing in the regression."""
        return self.setting.inner if isinstance(self.setting, Attention) else ""


def usual(n: int = 200, d: int = 22) -> Attention:
    """Return the setting the sweeps start from, with as many columns as the paper has for n."""
    columns = max(math.ceil(math.log(max(n, 1) / DELTA)), LEAST_COLUMNS)
    return Attention(n=n, d=d, m=columns)


_USUAL = usual()
ATTENTION: dict[str, Callable[[], list[tuple[float, Attention]]]] = {
    "n": lambda: [(n, usual(n, 12)) for n in range(200, 1001, 10)],
    "d": lambda: [(d, usual(256, d)) for d in (4, 6, 10, 18, 34, 66)],
    "m": lambda: [(m, replace(_USUAL, m=m)) for m in range(1, 81)],
    "a1": lambda: [(a, replace(_USUAL, a1=a)) for a in _spread(0.1, 3.0, 81)],
    "a0": lambda: [(a, replace(_USUAL, a0=a)) for a in _spread(0.01, 0.8, 80)],
    "c": lambda: [(c, replace(_USUAL, c=c)) for c in _spread(0.5, 0.9, 81)],
}
REGRESSION = ("n", "m")


def points(
    family: Family, choices: Choices, inners: tuple[Inner, ...] = INNERS, sweep: str = "all"
) -> list[Point]:
    """Return the points of a family, sweep by sweep.

    Args:
        family: Which.
        choices: What the paper leaves open.
        inners: Which X.
        sweep: One of them, or "all".

    Raises:
        UnknownName: The family has no such sweep.
    """
    known = REGRESSION if family == "regression" else tuple(ATTENTION)
    if sweep not in (*known, "all"):
        raise UnknownName(f"sweep of {family}", sweep, (*known, "all"))
    chosen = known if sweep == "all" else (sweep,)
    if family == "regression":
        return [point for name in chosen for point in _regression(name, choices)]
    return [
        point for inner in inners for name in chosen for point in _attention(family, inner, name, choices)
    ]


def _regression(sweep: str, choices: Choices) -> Iterator[Point]:
    sizes = (
        [(n, columns_for(n, choices.rounding)) for n in range(100, 2001, 10)]
        if sweep == "n"
        else [(1000, m) for m in range(1, 101)]
    )
    for place, (n, m) in enumerate(sizes):
        setting = Regression(n, m, choices.tau, choices.weights)
        yield Point(
            "regression", sweep, n if sweep == "n" else m, setting, (0, 0, REGRESSION.index(sweep), place)
        )


def _attention(family: Family, inner: Inner, sweep: str, choices: Choices) -> Iterator[Point]:
    which = FAMILIES.index(family), INNERS.index(inner), list(ATTENTION).index(sweep)
    for place, (x, fixed) in enumerate(ATTENTION[sweep]()):
        setting = replace(
            fixed,
            inner=inner,
            kind="self" if family == "self" else choices.cross,
            weights=choices.weights,
            margin=choices.margin,
            b=round(1 - fixed.c, 12) if choices.tied else fixed.b,
        )
        yield Point(family, sweep, x, setting, (*which, place))


def _spread(first: float, last: float, many: int) -> list[float]:
    """Return evenly spread numbers, as short as people write them."""
    return [round(float(x), 10) for x in np.linspace(first, last, many)]
