"""Recipes: TOML files, with overrides, turned into frozen dataclasses.

A recipe contains only what differs from the defaults. An unknown key is refused with the nearest known one, a
wrong type with the path of the setting, so that a typo never trains a wrong model.
"""

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nhin.errors import RecipeError, UnknownName

R = TypeVar("R")


def recipe_names() -> list[str]:
    """List the recipes that nhin ships."""
    entries = files("nhin").joinpath("recipes").iterdir()
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".toml"))


def read_recipe(name: str | Path) -> dict[str, Any]:
    """Read the settings of a recipe, by a shipped name or the path of a TOML file.

    Raises:
        UnknownName: Neither a shipped recipe nor a file.
        RecipeError: The file cannot be read or is not TOML.
    """
    path = Path(name)
    shipped = str(name) in recipe_names()
    if not shipped and not path.is_file():
        raise UnknownName("recipe", str(name), recipe_names())
    try:
        entry = files("nhin").joinpath("recipes", f"{name}.toml") if shipped else path
        return tomllib.loads(entry.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise RecipeError(f"{name} is not TOML: {why}") from why
    except OSError as why:
        raise RecipeError(f"cannot read {name}: {why.strerror or why}") from why


def load_recipe(cls: type[R], name: str | Path, overrides: Iterable[str] = ()) -> R:
    """Load a recipe by shipped name or path, with overrides such as ``model.dim=128`` applied."""
    return from_dict(cls, override(read_recipe(name), overrides), str(name))


def override(tree: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of the settings with ``dotted.key=value`` assignments applied; values are TOML.

    Raises:
        RecipeError: An assignment has no ``=``, or its key passes through a setting that is no table.
    """
    out = _copy(tree)
    for assignment in overrides:
        path, equals, value = assignment.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise RecipeError(f"write an override as model.dim=128, not {assignment!r}")
        table = out
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise RecipeError(f"override {assignment!r}: {key} is a value, not a table")
        table[keys[-1]] = _parse_value(value.strip())
    return out


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _parse_value(text: str) -> Any:
    """Parse a TOML value; a bare word is a string, so that a shell needs no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def from_dict(cls: type[R], tree: Mapping[str, Any], where: str) -> R:
    """Turn nested settings into the frozen dataclass ``cls``.

    Args:
        cls: Its fields may be plain types, Literals, tuples, dicts, dataclasses, or one of these or None.
        tree: The settings, from TOML or JSON.
        where: Name of the settings in errors.

    Raises:
        UnknownName: A key is not a field; the message offers the nearest.
        RecipeError: A value has the wrong type, or a field is missing; the message gives its path.
    """
    if not isinstance(tree, Mapping):
        raise RecipeError(f"{where} must be a table, got {str(tree)[:80]!r}")
    tree = _rename_old_keys(tree, getattr(cls, "OLD_NAMES", {}), where)
    hints = get_type_hints(cls)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in known:
            raise UnknownName(f"setting {where}:{key}", key, known)
        values[key] = _coerce(hints[key], value, f"{where}:{key}")
    try:
        return cls(**values)
    except TypeError as why:
        raise RecipeError(f"{where}: {why}") from why


def _rename_old_keys(tree: Mapping[str, Any], old_names: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return settings under their present names; ``old_names`` maps dotted paths of old ones to new names."""
    renamed = _copy(tree)
    for path, new in old_names.items():
        *tables, old = path.split(".")
        table: Any = renamed
        for key in tables:
            table = table.get(key) if isinstance(table, dict) else None
        if not isinstance(table, dict) or old not in table:
            continue
        if new in table:
            raise RecipeError(f"{where} gives {path} and {new}, which is its new name; give one of them")
        items = {new if key == old else key: value for key, value in table.items()}
        table.clear()
        table.update(items)
    return renamed


def _coerce(expected: Any, value: Any, where: str) -> Any:
    """Return a value as the expected type."""
    origin = get_origin(expected)
    if expected is Any:
        return value
    if is_dataclass(expected) and isinstance(expected, type):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where} must be a table, got {value!r}")
        return from_dict(expected, value, where)
    if origin in (Union, UnionType):
        if value is None and NoneType in get_args(expected):
            return None
        return _coerce(next(arm for arm in get_args(expected) if arm is not NoneType), value, where)
    if origin is Literal:
        if value not in get_args(expected):
            raise UnknownName(f"choice {where}", str(value), map(str, get_args(expected)))
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise RecipeError(f"{where} must be a list, got {value!r}")
        return tuple(_coerce(get_args(expected)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    plain = origin or expected
    if plain is float and type(value) is int:
        return float(value)
    if type(value) is not plain:
        raise RecipeError(f"{where} must be {getattr(plain, '__name__', plain)}, got {value!r}")
    return value


def to_dict(recipe: Any) -> dict[str, Any]:
    """Return a recipe as plain nested values, fit for JSON; the inverse of ``from_dict``."""
    return dataclasses.asdict(recipe)
