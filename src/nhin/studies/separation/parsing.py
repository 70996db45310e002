"""Parse one experiment of a command line, NAME=VALUE, and explain it."""

from collections.abc import Mapping
from dataclasses import replace

from nhin.errors import UnknownName, UsageError
from nhin.studies.separation.explain_attention import explain_attention
from nhin.studies.separation.explain_regression import explain_regression
from nhin.studies.separation.options import Variant
from nhin.studies.separation.regression.config import RegressionConfig, columns_for
from nhin.studies.separation.sweeps import INNERS, Family, default_config

_INTEGERS = ("n", "d", "m")
_ATTENTION = (*_INTEGERS, "a0", "a1", "b", "c", "margin", "X")


def explain_experiment(family: Family, given: Mapping[str, str], variant: Variant) -> str:
    """Return a page about one experiment; settings that are not given are the paper's.

    Raises:
        UnknownName: There is no such setting.
        UsageError: A value is not a number, or out of range.
    """
    if family == "regression":
        numbers = _parse_numbers(given, ("n", "m", "tau"))
        n = int(numbers.get("n", 1000))
        m = int(numbers.get("m", 0)) or columns_for(n, variant.rounding)
        tau = float(numbers.get("tau", variant.tau))
        return explain_regression(RegressionConfig(n, m, tau, variant.weights))
    inner = given.get("X", "eye")
    if inner not in INNERS:
        raise UnknownName("X", inner, INNERS)
    numbers = _parse_numbers({name: value for name, value in given.items() if name != "X"}, _ATTENTION)
    config = default_config(int(numbers.pop("n", 200)), int(numbers.pop("d", 22)))
    if variant.tied and "b" not in numbers:
        numbers["b"] = round(1 - numbers.get("c", config.c), 12)
    kind = "self" if family == "self" else variant.cross
    numbers = {"margin": variant.margin} | numbers
    return explain_attention(replace(config, kind=kind, inner=inner, weights=variant.weights, **numbers))


def _parse_numbers(given: Mapping[str, str], known: tuple[str, ...]) -> dict[str, int | float]:
    numbers: dict[str, int | float] = {}
    for name, value in given.items():
        if name not in known:
            raise UnknownName("setting", name, known)
        try:
            numbers[name] = int(value) if name in _INTEGERS else float(value)
        except ValueError:
            kind = "a whole number" if name in _INTEGERS else "a number"
            raise UsageError(f"{name} is {value!r}; give {kind}") from None
    return numbers
