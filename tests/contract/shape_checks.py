"""beartype as jaxtyping needs it in tests: every parameter is checked once.

For each function jaxtyping has two checked: one with its parameters, and, when the answer is there, one with
the same parameters and the answer. By then the axes of the parameters are known, and only the answer is left.
"""

from typing import Any

from beartype import beartype


def check(function):
    """Return a function whose parameters are checked, or its answer if it has an annotation."""
    hints = function.__annotations__
    if hints.get("return", Any) is not Any:
        function.__annotations__ = dict.fromkeys(hints, Any) | {"return": hints["return"]}
    return beartype(function)
