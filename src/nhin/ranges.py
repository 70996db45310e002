"""Parsing and range checks of numbers that a user gives."""

import math
from collections.abc import Callable
from typing import TypeVar

from nhin.errors import UsageError

Number = TypeVar("Number", int, float)


def check_int(name: str, value: int, low: int, high: int) -> int:
    """Return a whole number from ``low`` to ``high``.

    Raises:
        UsageError: It is not one; the message names it and the range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} is {value}; give a whole number from {low} to {high}")
    return value


def check_float(name: str, value: float, low: float, high: float) -> float:
    """Return a finite number from ``low`` to ``high``.

    Raises:
        UsageError: It is not one; the message names it and the range.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{name} is {value:g}; give a number from {low:g} to {high:g}")
    return value


def parse_list(text: str, kind: Callable[[str], Number], example: str) -> tuple[Number, ...]:
    """Parse numbers separated by commas.

    Raises:
        UsageError: They are not of this kind; the message begins with ``example``.
    """
    try:
        return tuple(kind(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"{example}, not {text[:40]!r}") from None
