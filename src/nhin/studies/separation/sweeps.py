"""The published sweeps: the points of each family, and what is fixed in them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from nhin.errors import UnknownName
from nhin.studies.separation.config import AttentionConfig, RegressionConfig, columns_for
from nhin.studies.separation.options import Inner, Variant

Family = Literal["regression", "self", "cross"]
FAMILIES: tuple[Family, ...] = ("regression", "self", "cross")
INNERS: tuple[Inner, ...] = ("eye", "ones")
REPEATS = {"regression": 1000, "self": 100, "cross": 100}


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One experiment of one sweep, at the value x."""

    family: Family
    sweep: str
    x: float
    config: AttentionConfig | RegressionConfig
    index: tuple[int, int, int, int]  # family, X, sweep, point: the seed of its samples is made of it

    @property
    def inner(self) -> str:
        """X, or nothing in the regression."""
        return self.config.inner if isinstance(self.config, AttentionConfig) else ""


def default_config(n: int = 200, d: int = 22) -> AttentionConfig:
    """Return the configuration the sweeps start from, with as many columns as the paper has for n."""
    return AttentionConfig(n=n, d=d, m=max(math.ceil(math.log(max(n, 1) / 0.01)), 15))


def _spaced(first: float, last: float, count: int) -> list[float]:
    """Return evenly spaced numbers, rounded to few digits."""
    return [round(float(x), 10) for x in np.linspace(first, last, count)]


def _varied(name: str, values: list[float] | range) -> Callable[[], list[tuple[float, AttentionConfig]]]:
    return lambda: [(x, replace(default_config(), **{name: x})) for x in values]


ATTENTION: dict[str, Callable[[], list[tuple[float, AttentionConfig]]]] = {
    "n": lambda: [(n, default_config(n, 12)) for n in range(200, 1001, 10)],
    "d": lambda: [(d, default_config(256, d)) for d in (4, 6, 10, 18, 34, 66)],
    "m": _varied("m", range(1, 81)),
    "a1": _varied("a1", _spaced(0.1, 3.0, 81)),
    "a0": _varied("a0", _spaced(0.01, 0.8, 80)),
    "c": _varied("c", _spaced(0.5, 0.9, 81)),
}
REGRESSION = ("n", "m")


def sweep_points(
    family: Family, variant: Variant, inners: tuple[Inner, ...] = INNERS, sweep: str = "all"
) -> list[SweepPoint]:
    """Return the points of a family: of one sweep or, with "all", of every sweep."""
    known = REGRESSION if family == "regression" else tuple(ATTENTION)
    if sweep not in (*known, "all"):
        raise UnknownName(f"sweep of {family}", sweep, (*known, "all"))
    names = known if sweep == "all" else (sweep,)
    if family == "regression":
        return [point for name in names for point in _regression_sweep(name, variant)]
    pairs = product(inners, names)
    return [point for pair in pairs for point in _attention_sweep(family, *pair, variant)]


def _regression_sweep(sweep: str, variant: Variant) -> Iterator[SweepPoint]:
    sizes = [(1000, m) for m in range(1, 101)]
    if sweep == "n":
        sizes = [(n, columns_for(n, variant.rounding)) for n in range(100, 2001, 10)]
    for number, (n, m) in enumerate(sizes):
        config, index = RegressionConfig(n, m, variant.tau, variant.weights), REGRESSION.index(sweep)
        yield SweepPoint("regression", sweep, getattr(config, sweep), config, (0, 0, index, number))


def _attention_sweep(family: Family, inner: Inner, sweep: str, variant: Variant) -> Iterator[SweepPoint]:
    index = FAMILIES.index(family), INNERS.index(inner), list(ATTENTION).index(sweep)
    for number, (x, config) in enumerate(ATTENTION[sweep]()):
        config = replace(
            config,
            inner=inner,
            kind="self" if family == "self" else variant.cross,
            weights=variant.weights,
            margin=variant.margin,
            b=round(1 - config.c, 12) if variant.tied else config.b,
        )
        yield SweepPoint(family, sweep, x, config, (*index, number))
