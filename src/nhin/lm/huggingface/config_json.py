"""A foreign config.json: asked for its values by name, kind and bounds."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nhin.errors import CheckpointError, UsageError

MAX_BYTES = 2**20


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a file that should hold one JSON object.

    Raises:
        CheckpointError: It is missing, longer than ``max_bytes`` bytes, torn, or holds something else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as why:
        raise CheckpointError(f"cannot read {path}: {why.strerror or why}") from why
    if len(data) > max_bytes:
        raise CheckpointError(f"{path} is longer than {max_bytes} bytes; that is not what it should be")
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as why:
        raise CheckpointError(f"{path} is not JSON: {str(why)[:80]}") from why
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return tree


class ConfigReader:
    """Values of a config.json; each question names the key in its refusal.

    Args:
        tree: The parsed file.
        where: What to call it.
    """

    def __init__(self, tree: Mapping[str, Any], where: str) -> None:
        self._tree, self._where = tree, where

    def get_int(self, name: str, default: int | None = None, *, minimum: int = 1) -> int:
        """Return a whole number of at least ``minimum``; sizes have their upper bounds in the design."""
        value = self._tree.get(name)
        value = default if value is None else value
        if type(value) is not int or value < minimum:
            raise CheckpointError(
                f"{self._where}: {name} is {value!r}; a whole number from {minimum} on is needed"
            )
        return value

    def get_float(self, name: str, default: float) -> float:
        """Return a finite number above zero."""
        value = self._tree.get(name)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise CheckpointError(f"{self._where}: {name} is {value!r}; a number above 0 is needed")
        return float(value)

    def get_fraction(self, name: str, default: float) -> float:
        """Return a number from 0 to below 1."""
        value = self._tree.get(name)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise CheckpointError(f"{self._where}: {name} is {value!r}; 0 or more and less than 1 is needed")
        return float(value)

    def get_bool(self, name: str, default: bool) -> bool:
        """Return whether something is so."""
        value = self._tree.get(name)
        value = default if value is None else value
        if type(value) is not bool:
            raise CheckpointError(f"{self._where}: {name} is {value!r}; true or false is needed")
        return value

    def get_choice(self, name: str, known: Mapping[str, str], default: str) -> str:
        """Return what we call one of several words.

        Raises:
            UsageError: It is another; the message names those known.
        """
        value = self._tree.get(name)
        value = default if value is None else value
        if not isinstance(value, str) or value not in known:
            raise UsageError(f"{self._where}: {name} is {value!r}; nhin knows {', '.join(known)}")
        return known[value]

    def get_section(self, name: str) -> "ConfigReader":
        """Return the object under a name; an empty one where there is none."""
        value = self._tree.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise CheckpointError(f"{self._where}: {name} is {value!r}; an object is needed")
        return ConfigReader(value or {}, f"{self._where}: {name}")

    def check_allowed(self, allowed_values: Mapping[str, Sequence[object]]) -> None:
        """Refuse values that nhin has nothing for.

        Args:
            allowed_values: By name, the values that may stand there; a name that is missing or null is always right.

        Raises:
            UsageError: There is another; the message names the first.
        """
        for name, allowed in allowed_values.items():
            value = self._tree.get(name)
            if value is not None and not any(type(value) is type(one) and value == one for one in allowed):
                shown = repr(value) if len(repr(value)) < 80 else repr(value)[:77] + "..."
                only = f" but {' or '.join(map(repr, allowed))}" if allowed else ""
                raise UsageError(f"{self._where}: {name} is {shown}, and nhin knows nothing{only} there")
