"""Recipes: TOML files, with overrides, turned into frozen dataclasses.

A recipe contains only what differs from the defaults. An unknown key is refused with the nearest known one, a
wrong type with the path of the setting, so that a typo never trains a wrong model. The range of a number and
the length of a text or a list are declared beside its type, as ``ranges.Range`` and ``ranges.Length``.
"""

import dataclasses
import math
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nhin.errors import NhinError, RecipeError, UnknownName, UsageError
from nhin.files import read_bytes, read_json
from nhin.ranges import Length, Range, show_value

R = TypeVar("R")
RUN_RECIPE, MAX_RUN_RECIPE = "recipe.json", 2**20

MAX_BYTES, MAX_LINE = 2**16, 4096  # tomllib takes the square of a dotted key's length
_LENGTH = Length()
_MAX_DEPTH, _MAX_INT = 16, 2**1000  # a float is less than 2**1024
_FREE_ITEMS, _FREE_DEPTH, _FREE_NUMBER = Length(0, 1024), 4, Range(-(2**63), 2**63)


def recipe_names() -> list[str]:
    """List the recipes that nhin ships."""
    entries = files("nhin").joinpath("recipes").iterdir()
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".toml"))


def read_recipe(name: str | Path) -> dict[str, Any]:
    """Read the settings of a recipe, by a shipped name, the path of a TOML file or the folder of a run.

    The recipe of a language model's run starts from its weights and takes its tokenizer.

    Raises:
        UnknownName: Neither a shipped recipe nor a file nor a run.
        RecipeError: The file cannot be read or is not TOML.
    """
    path = Path(name)
    shipped = str(name) in recipe_names()
    if not shipped and (path / RUN_RECIPE).is_file():
        return _read_run_recipe(path)
    if not shipped and not path.is_file():
        raise UnknownName("recipe", str(name), recipe_names())
    if shipped:
        data = files("nhin").joinpath("recipes", f"{name}.toml").read_bytes()
    else:
        data = read_bytes(path, MAX_BYTES, RecipeError)
    try:
        text = data.decode("utf-8")
        if any(len(line) > MAX_LINE for line in text.split("\n")):
            raise RecipeError(f"{name} has a line of over {MAX_LINE} characters, the most that is read")
        return tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError:
        raise RecipeError(f"{name} is nested too deeply") from None
    except ValueError as why:  # numbers of too many digits and dates that are none are ValueErrors too
        if isinstance(why, RecipeError):
            raise
        raise RecipeError(f"{name} is not TOML: {str(why)[:200]}") from why


def _read_run_recipe(folder: Path) -> dict[str, Any]:
    tree = read_json(folder / RUN_RECIPE, RecipeError, MAX_RUN_RECIPE)
    data = tree.get("data") if isinstance(tree, dict) else None
    if not isinstance(data, dict) or tree.get("workflow") != "lm" or tree.get("ngram"):
        raise RecipeError(f"{folder} is not the run of a language model's network; only those are trained on")
    data = {**data, "tokenizer": f"run:{folder}"}
    return tree | {"init_from": str(folder), "fitted": False, "data": data}


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
            raise RecipeError(f"write an override as model.dim=128, not {show_value(assignment)}")
        table = out
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise RecipeError(
                    f"override {show_value(assignment)}: {show_value(key)} is a value, not a table"
                )
        table[keys[-1]] = _parse_value(value.strip())
    return out


def _copy(tree: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise RecipeError("the settings are nested too deeply")
    return {
        key: _copy(value, depth + 1) if isinstance(value, Mapping) else value for key, value in tree.items()
    }


def _parse_value(text: str) -> Any:
    """Parse a TOML value; a bare word is a string, so that a shell needs no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}") if len(text) <= MAX_LINE else {}
    except (ValueError, RecursionError):
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
        raise RecipeError(f"{where} must be a table, got {show_value(tree)}")
    tree = _rename_old_keys(tree, getattr(cls, "OLD_NAMES", {}), where)
    hints = _hints(cls)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in known:
            raise UnknownName(f"setting {where}:{key[:80]}", key, known)
        values[key] = _coerce(hints[key], value, f"{where}:{key}")
    try:
        return cls(**values)
    except TypeError as why:
        raise RecipeError(f"{where}: {why}") from why


def check_fields(settings: Any, error: type[NhinError] = UsageError) -> None:
    """Check a dataclass that was built in Python as ``from_dict`` checks what it reads.

    Raises:
        UsageError: A value has the wrong type or is out of its range (``error``, if given).
        UnknownName: A choice is unknown.
    """
    hints = _hints(type(settings))
    try:
        for field in fields(settings):
            _coerce(hints[field.name], getattr(settings, field.name), field.name)
    except RecipeError as why:
        raise error(str(why)) from None


def check_arguments(function: Callable[..., Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return keyword arguments as the types that a function declares for them.

    Raises:
        UnknownName: It has no such argument.
        RecipeError: A value has the wrong type or is out of its range.
    """
    hints = _hints(function)
    for key in values:
        if key not in hints or key == "return":
            raise UnknownName(f"setting {where}:{key[:80]}", key, hints.keys() - {"return"})
    return {
        key: _coerce(hints[key], _check_free(value, f"{where}:{key}"), f"{where}:{key}")
        for key, value in values.items()
    }


@lru_cache(maxsize=256)
def _hints(declared: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields or a function's arguments, with their ranges."""
    return get_type_hints(declared, include_extras=True)


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


def _coerce(expected: Any, value: Any, where: str, *length: Length) -> Any:
    """Return a value as the expected type, in its range and of its length."""
    origin, args = get_origin(expected), get_args(expected)
    if origin is Annotated:
        lengths = (rule for rule in args[1:] if isinstance(rule, Length))
        result: Any = _coerce(args[0], value, where, *lengths)
        for rule in args[1:]:
            if isinstance(rule, Range) and result is not None:
                rule.check(where, result, RecipeError)
        return result
    if origin in (Union, UnionType):
        if value is None and NoneType in args:
            return None
        return _coerce(next(arm for arm in args if arm is not NoneType), value, where, *length)
    if expected is Any:
        return _check_free(value, where)
    if is_dataclass(expected) and isinstance(expected, type):
        return value if isinstance(value, expected) else from_dict(expected, value, where)
    if origin is Literal:
        if value not in args:
            raise UnknownName(f"choice {where}", show_value(value).strip("'"), map(str, args))
        return value
    limit = length[0] if length else _LENGTH
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise RecipeError(f"{where} must be a list, got {show_value(value)}")
        limit.check(where, value, RecipeError)
        return tuple(_coerce(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    return _coerce_plain(origin or expected, args, value, where, limit)


def _coerce_plain(plain: Any, args: tuple[Any, ...], value: Any, where: str, limit: Length) -> Any:
    """Return a number, a text or a dict, whose items have the type ``args[1]``."""
    if plain is float and type(value) is int:
        return float(value) if -_MAX_INT <= value <= _MAX_INT else math.inf * (-1 if value < 0 else 1)
    if type(value) is not plain:
        raise RecipeError(f"{where} must be {getattr(plain, '__name__', plain)}, got {show_value(value)}")
    if plain is str:
        return _check_text(value, where, limit)
    if plain is dict:
        limit.check(where, value, RecipeError)
        kind = args[1] if args else Any
        return {_check_text(key, where): _coerce(kind, one, f"{where}:{key}") for key, one in value.items()}
    return value


def _check_text(text: Any, where: str, length: Length = _LENGTH) -> str:
    """Return a text that can be stored and shown: of bounded length, without control characters."""
    if not isinstance(text, str):
        raise RecipeError(f"{where} must be text, got {show_value(text)}")
    length.check(where, text, RecipeError)
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise RecipeError(f"{where} has a control character: {show_value(text)}")
    return text


def _check_free(value: Any, where: str, depth: int = 0) -> Any:
    """Return a value whose type is not declared: numbers, texts, and lists and tables of a few of them."""
    if isinstance(value, str):
        return _check_text(value, where)
    if isinstance(value, int | float):
        return value if isinstance(value, bool) else _FREE_NUMBER.check(where, value, RecipeError)
    if value is not None and (not isinstance(value, list | tuple | dict) or depth >= _FREE_DEPTH):
        raise RecipeError(f"{where} must be a number, a text or a short list, got {show_value(value)}")
    if value is not None:
        _FREE_ITEMS.check(where, value, RecipeError)
        for item in value if not isinstance(value, dict) else (*value, *value.values()):
            _check_free(item, where, depth + 1)
    return value


def to_dict(recipe: Any) -> dict[str, Any]:
    """Return a recipe as plain nested values, fit for JSON; the inverse of ``from_dict``."""
    return dataclasses.asdict(recipe)
