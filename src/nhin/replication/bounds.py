"""Numbers people give, checked in their own words."""

import math

from nhin.errors import UsageError


def whole(name: str, value: int, least: int, most: int) -> int:
    """Return a whole number between two others.

    Raises:
        UsageError: It is not one; the message names it and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name} is {value}; give a whole number from {least} to {most}")
    return value


def finite(name: str, value: float, least: float, most: float) -> float:
    """Return a number between two others; NaN is between none.

    Raises:
        UsageError: It is not one; the message names it and what is allowed.
    """
    if not (math.isfinite(value) and least <= value <= most):
        raise UsageError(f"{name} is {value:g}; give a number from {least:g} to {most:g}")
    return value
