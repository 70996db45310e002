"""Parse numbers and check their ranges; the error says what was given and what is allowed."""

import math
from collections.abc import Callable, Sized
from dataclasses import dataclass
from reprlib import Repr
from typing import TypeVar

from nhin.errors import NhinError, ShapeError, UsageError

Number = TypeVar("Number", int, float)

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a setting allows, declared beside its type: ``Annotated[int, Range(1, 1024)]``.

    ``config.from_dict`` checks it, and the command line for its options; for the bounds see ``check_range``.
    """

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    def check(self, name: str, value: Number, error: type[NhinError] = UsageError) -> Number:
        """Return a number, or refuse it; see ``check_range``."""
        return check_range(
            name, value, self.minimum, self.maximum, above=self.above, below=self.below, error=error
        )


@dataclass(frozen=True, slots=True)
class Length:
    """How many characters or items a setting may have, declared as a ``Range`` is."""

    minimum: int = 0
    maximum: int = 4096

    def check(self, name: str, value: Sized, error: type[NhinError] = UsageError) -> None:
        """Refuse a text or a list that is too short or too long."""
        if not self.minimum <= len(value) <= self.maximum:
            what = "characters" if isinstance(value, str) else "items"
            raise error(f"{name} has {len(value)} {what}; give {self.minimum} to {self.maximum}")


THREADS, SEED = Range(1, 256), Range(0, 2**63 - 1)  # a system may refuse more threads, and end the process


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
    raise error(f"{name} is {show_value(value)}; give {allowed or 'a finite number'}")


def show_value(value: object) -> str:
    """Return a value as a short text for an error message, whatever its size and depth."""
    try:
        return _SHORT.repr(value)
    except (ValueError, RecursionError):  # Python writes no number of over 4,300 digits
        return f"a value too long to show ({type(value).__name__})"


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
