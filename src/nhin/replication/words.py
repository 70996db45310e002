"""One experiment from the words of a command line: NAME=VALUE."""

from collections.abc import Mapping
from dataclasses import replace

from nhin.errors import UnknownName, UsageError
from nhin.replication.explain import explain
from nhin.replication.explain_regression import explain as explain_regression
from nhin.replication.regression.setting import Setting as Regression
from nhin.replication.regression.setting import columns_for
from nhin.replication.sweeps import INNERS, Choices, Family, usual

_WHOLE = ("n", "d", "m")
_ATTENTION = (*_WHOLE, "a0", "a1", "b", "c", "margin", "X")


def page_of(family: Family, given: Mapping[str, str], choices: Choices) -> str:
    """Return a page about one experiment.

    Args:
        family: Of the experiment.
        given: What is set, by name; the rest is as the paper has it.
        choices: What the paper leaves open.

    Raises:
        UnknownName: There is no such setting.
        UsageError: A value is none.
    """
    if family == "regression":
        known = ("n", "m", "tau")
        numbers = _numbers(given, known)
        n = int(numbers.get("n", 1000))
        m = int(numbers.get("m", 0)) or columns_for(n, choices.rounding)
        return explain_regression(Regression(n, m, float(numbers.get("tau", choices.tau)), choices.weights))
    inner = given.get("X", "eye")
    if inner not in INNERS:
        raise UnknownName("X", inner, INNERS)
    numbers = _numbers({name: value for name, value in given.items() if name != "X"}, _ATTENTION)
    setting = usual(int(numbers.pop("n", 200)), int(numbers.pop("d", 22)))
    if choices.tied and "b" not in numbers:
        numbers["b"] = round(1 - numbers.get("c", setting.c), 12)
    kind = "self" if family == "self" else choices.cross
    numbers = {"margin": choices.margin} | numbers
    return explain(replace(setting, kind=kind, inner=inner, weights=choices.weights, **numbers))


def _numbers(given: Mapping[str, str], known: tuple[str, ...]) -> dict[str, int | float]:
    """Return values as numbers, whole where sizes are meant."""
    numbers: dict[str, int | float] = {}
    for name, value in given.items():
        if name not in known:
            raise UnknownName("setting", name, known)
        try:
            numbers[name] = int(value) if name in _WHOLE else float(value)
        except ValueError:
            kind = "a whole number" if name in _WHOLE else "a number"
            raise UsageError(f"{name} is {value!r}; give {kind}") from None
    return numbers
