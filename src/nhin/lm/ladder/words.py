"""Budgets, depths and rates as people write them."""

import re

from nhin.errors import UsageError

_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_BUDGET = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.ASCII)


def seconds_of(words: str) -> float:
    """Read a budget such as 90s, 30m, 2h or 1h30m.

    Raises:
        UsageError: It is none.
    """
    found = _BUDGET.fullmatch(words.strip())
    if found is None or not any(found.groups()):
        raise UsageError(f"a budget looks like 90s, 30m or 2h, not {words[:40]!r}")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def depths_of(words: str) -> tuple[int, ...]:
    """Read depths such as 2,4,8.

    Raises:
        UsageError: They are no whole numbers.
    """
    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError:
        raise UsageError(f"depths look like 2,4,8, not {words[:40]!r}") from None


def rates_of(words: str) -> tuple[float, ...]:
    """Read rates such as 1e-3,3e-3.

    Raises:
        UsageError: They are no numbers.
    """
    try:
        return tuple(float(word) for word in words.split(","))
    except ValueError:
        raise UsageError(f"rates look like 1e-3,3e-3,1e-2, not {words[:40]!r}") from None


def spoken(seconds: float) -> str:
    """Say a time span as people do: 45s, 3m20s or 2h05m."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest}s"
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"
