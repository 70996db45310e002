"""Read a foreign config.json, value by value, with checks of type and range."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nhin.errors import CheckpointError, UsageError

MAX_BYTES = 2**20


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read one JSON object from a file.

    Raises:
        CheckpointError: The file is missing, longer than ``max_bytes``, damaged, or holds something else.
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
    """Values of a config.json; every error names the key.

    Args:
        tree: The parsed file.
        where: Its name in messages.
    """

    def __init__(self, tree: Mapping[str, Any], where: str) -> None:
        self._tree, self._where = tree, where

    def get_int(self, name: str, default: int | None = None) -> int:
        """Return a whole number of at least 1; ``ModelConfig`` checks the upper bounds."""
        value = self._get(name, default)
        self._require(type(value) is int and value >= 1, name, value, "a whole number from 1 on")
        return value

    def get_float(self, name: str, default: float) -> float:
        """Return a finite number above zero."""
        value = self._get(name, default)
        is_valid = type(value) in (int, float) and 0 < value < math.inf
        self._require(is_valid, name, value, "a number above 0")
        return float(value)

    def get_fraction(self, name: str, default: float) -> float:
        """Return a number from 0 to below 1."""
        value = self._get(name, default)
        is_valid = type(value) in (int, float) and 0 <= value < 1
        self._require(is_valid, name, value, "0 or more and less than 1")
        return float(value)

    def get_bool(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self._get(name, default)
        self._require(type(value) is bool, name, value, "true or false")
        return value

    def get_choice(self, name: str, known: Mapping[str, str], default: str) -> str:
        """Return nhin's word for one of several.

        Raises:
            UsageError: It is another; the message names the known ones.
        """
        value = self._get(name, default)
        if not isinstance(value, str) or value not in known:
            raise UsageError(f"{self._where}: {name} is {value!r}; nhin knows {', '.join(known)}")
        return known[value]

    def get_section(self, name: str) -> "ConfigReader":
        """Return the object under a name; an empty one when missing."""
        value = self._get(name, {})
        self._require(isinstance(value, Mapping), name, value, "an object")
        return ConfigReader(value, f"{self._where}: {name}")

    def check_allowed(self, allowed_values: Mapping[str, Sequence[object]]) -> None:
        """Refuse values that nhin does not support.

        Args:
            allowed_values: The values allowed under each name; a missing or null value is always allowed.

        Raises:
            UsageError: There is another; the message names the first.
        """
        for name, allowed in allowed_values.items():
            value = self._tree.get(name)
            matches = (type(value) is type(known) and value == known for known in allowed)
            if value is not None and not any(matches):
                shown = repr(value) if len(repr(value)) < 80 else repr(value)[:77] + "..."
                only = f" but {' or '.join(map(repr, allowed))}" if allowed else ""
                raise UsageError(f"{self._where}: {name} is {shown}, and nhin knows nothing{only} there")

    def _get(self, name: str, default: Any) -> Any:
        value = self._tree.get(name)
        return default if value is None else value

    def _require(self, is_valid: bool, name: str, value: object, need: str) -> None:
        if not is_valid:
            raise CheckpointError(f"{self._where}: {name} is {value!r}; {need} is needed")
