"""Read a foreign config.json, value by value, with checks of type and range; no key is dropped in silence."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from nhin import files
from nhin.errors import CheckpointError, UsageError

MAX_BYTES = 2**20
_MAX_NUMBER = 1e15
_MAX_SHOWN = 60


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read one JSON object from a file.

    Raises:
        CheckpointError: The file is missing, longer than ``max_bytes``, damaged, or holds something else.
    """
    tree = files.read_json(path, max_bytes=max_bytes)
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return tree


def show(value: object) -> str:
    """Return a foreign value in one short line."""
    if isinstance(value, str):
        value = value[: 2 * _MAX_SHOWN]
    elif isinstance(value, int) and abs(value) > _MAX_NUMBER:
        return "a number of more than 15 digits"
    elif isinstance(value, Mapping | list):
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


class ConfigReader:
    """Values of a config.json; every error names the key.

    Args:
        tree: The parsed file.
        where: Its name in messages.
    """

    def __init__(self, tree: Mapping[str, Any], where: str) -> None:
        self._tree, self._where = tree, where

    def has_value(self, name: str) -> bool:
        """Return whether there is a value other than null and an empty object."""
        return self._tree.get(name) not in (None, {})

    def get_int(self, name: str, default: int | None = None) -> int:
        """Return a whole number of at least 1; ``ModelConfig`` checks the upper bounds."""
        value = self._get(name, default)
        self._require(
            type(value) is int and 1 <= value < _MAX_NUMBER, name, value, "a whole number from 1 on"
        )
        return value

    def get_float(self, name: str, default: float | None = None) -> float:
        """Return a number above zero."""
        value = self._get(name, default)
        is_valid = type(value) in (int, float) and 0 < value < _MAX_NUMBER
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

    def get_ids(self, name: str) -> list[int]:
        """Return the token ids under a name, one or a list; none when missing."""
        value = self._get(name, [])
        ids = value if isinstance(value, list) else [value]
        is_valid = all(type(i) is int and 0 <= i < _MAX_NUMBER for i in ids)
        self._require(is_valid, name, value, "an id of a token, or a list of some,")
        return ids

    def get_choice(self, name: str, known: Mapping[str, str], default: str) -> str:
        """Return nhin's word for one of several.

        Raises:
            UsageError: It is another; the message names the known ones.
        """
        value = self._get(name, default)
        if not isinstance(value, str) or value not in known:
            raise UsageError(f"{self._where}: {name} is {show(value)}; nhin knows {', '.join(known)}")
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
                only = f" but {' or '.join(map(repr, allowed))}" if allowed else ""
                raise UsageError(
                    f"{self._where}: {name} is {show(value)}, and nhin knows nothing{only} there"
                )

    def check_items(self, name: str, allowed: Sequence[str]) -> None:
        """Refuse a list with other items than the allowed ones; a missing or null one is allowed.

        Raises:
            UsageError: There is another; the message names the first.
        """
        items = self._get(name, [])
        self._require(isinstance(items, list), name, items, "a list")
        for item in items:
            if item not in allowed:
                raise UsageError(f"{self._where}: {name} has {show(item)}; nhin knows {', '.join(allowed)}")

    def check_keys(self, known: Collection[str]) -> None:
        """Refuse keys that are not known, since they may change what a model computes.

        A value that is null, false or empty is none.

        Raises:
            UsageError: There is one; the message names the first.
        """
        for name, value in self._tree.items():
            is_empty = value is None or value is False or value in ({}, [], "")
            if name not in known and not is_empty:
                raise UsageError(
                    f"{self._where}: nhin does not know {name[:_MAX_SHOWN]!r} ({show(value)}), "
                    "which may change what the model computes"
                )

    def _get(self, name: str, default: Any) -> Any:
        value = self._tree.get(name)
        return default if value is None else value

    def _require(self, is_valid: bool, name: str, value: object, need: str) -> None:
        if not is_valid:
            raise CheckpointError(f"{self._where}: {name} is {show(value)}; {need} is needed")
