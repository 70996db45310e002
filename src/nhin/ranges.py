"""Parse numbers and check their ranges; the error says what was given and what is allowed."""

import math
from collections.abc import Callable
from typing import TypeVar

from nhin.errors import NhinError, ShapeError, UsageError

Number = TypeVar("Number", int, float)


def check_range(
    name: str,
    value: Number,
    minimum: float | None = None,
    maximum: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    error: type[NhinError] = UsageError,
) -> Number:
    """Return ``value``, or refuse it where it is out of range, infinite or NaN.

    Args:
        name: What the user calls it.
        value: The number.
        minimum: The least that is allowed.
        maximum: The most that is allowed.
        above: What it must exceed, instead of ``minimum``.
        below: What it must stay under, instead of ``maximum``.
        error: Raised with a message such as "depth is 0; give 1 to 1024".
    """
    if (
        not (isinstance(value, float) and not math.isfinite(value))
        and (minimum is None or value >= minimum)
        and (maximum is None or value <= maximum)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        return value
    if minimum is not None and maximum is not None:
        allowed = f"{_format_bound(minimum)} to {_format_bound(maximum)}"
    else:
        bounds = (("at least", minimum), ("more than", above), ("at most", maximum), ("less than", below))
        allowed = " and ".join(
            f"{words} {_format_bound(bound)}" for words, bound in bounds if bound is not None
        )
    raise error(f"{name} is {value}; give {allowed or 'a finite number'}")


def check_size(name: str, value: int, minimum: int = 1, maximum: int | None = None) -> int:
    """Return a size of a tensor or a network.

    Raises:
        ShapeError: It is out of range.
    """
    return check_range(name, value, minimum, maximum, error=ShapeError)


def check_int(name: str, value: int, minimum: int, maximum: int) -> int:
    """Return a whole number where a user may have given another kind of value.

    Raises:
        UsageError: It is no whole number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise UsageError(f"{name} is {value}; give a whole number from {minimum} to {maximum}")
    return value


def check_float(name: str, value: float, minimum: float, maximum: float) -> float:
    """Return a finite number.

    Raises:
        UsageError: It is not finite, or out of range.
    """
    if not (math.isfinite(value) and minimum <= value <= maximum):
        raise UsageError(f"{name} is {value:g}; give a number from {minimum:g} to {maximum:g}")
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


def _format_bound(bound: float) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)
