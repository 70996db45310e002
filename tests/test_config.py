"""Laws of recipes: a typo is refused with a message that says where it is."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from nhin.config import from_dict, load_recipe, override, recipe_names, to_dict
from nhin.errors import RecipeError, UnknownName


@dataclass(frozen=True)
class Model:
    dim: int = 64
    rate: float = 0.1
    shape: Literal["cosine", "sqrt"] = "cosine"
    names: tuple[str, ...] = ()
    cache: str | None = None


@dataclass(frozen=True)
class Settings:
    seed: int = 0
    model: Model = Model()
    extra: dict[str, Any] = field(default_factory=dict)


def test_missing_settings_keep_their_defaults():
    built = from_dict(Settings, {"model": {"dim": 8, "rate": 1, "names": ["a"]}}, "x")
    assert built == Settings(model=Model(dim=8, rate=1.0, names=("a",)))
    assert type(built.model.rate) is float


def test_an_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match=r"x:model:dmi.*did you mean dim"):
        from_dict(Settings, {"model": {"dmi": 8}}, "x")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"seed": "7"}, r"x:seed must be int, got '7'"),
        ({"seed": True}, r"x:seed must be int"),
        ({"seed": 1.5}, r"x:seed must be int"),
        ({"model": 3}, r"x:model must be a table"),
        ({"model": {"names": "ab"}}, r"x:model:names must be a list"),
        ({"model": {"names": [1]}}, r"x:model:names\[0\] must be str"),
        ({"model": {"cache": 3}}, r"x:model:cache must be str"),
        ({"model": {"rate": "fast"}}, r"x:model:rate must be float"),
    ],
)
def test_a_wrong_type_is_refused_with_its_path(tree, words):
    with pytest.raises(RecipeError, match=words):
        from_dict(Settings, tree, "x")


def test_a_choice_outside_its_list_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean cosine"):
        from_dict(Settings, {"model": {"shape": "cosin"}}, "x")


def test_from_dict_inverts_to_dict():
    settings = Settings(seed=3, model=Model(names=("a", "b"), cache="c"), extra={"k": [1, 2]})
    assert from_dict(Settings, to_dict(settings), "x") == settings


def test_overrides_are_toml_or_bare_words_and_leave_the_original_unchanged():
    tree = {"model": {"dim": 8}}
    words = ["model.dim=128", "model.shape = sqrt", "seed=3", 'extra.list=["a"]', "model.cache=a/b"]
    changed = override(tree, words)
    assert changed == {
        "model": {"dim": 128, "shape": "sqrt", "cache": "a/b"},
        "seed": 3,
        "extra": {"list": ["a"]},
    }
    assert tree == {"model": {"dim": 8}}


@pytest.mark.parametrize("wrong", ["model.dim", "=3", "model..dim=3", "seed.deep=3"])
def test_an_invalid_override_is_refused(wrong):
    with pytest.raises(RecipeError):
        override({"seed": 1}, [wrong])


def test_a_recipe_is_found_by_path_and_missed_by_name_with_a_hint(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 4\n[model]\ndim = 8\n", encoding="utf-8")
    assert load_recipe(Settings, path, ["model.dim=9"]) == Settings(seed=4, model=Model(dim=9))
    with pytest.raises(UnknownName, match="did you mean reader-tiny"):
        load_recipe(Settings, "reader-tny")


@pytest.mark.parametrize("content", [b"seed = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"mine\.toml is not TOML"):
        load_recipe(Settings, path)


def test_recipes_are_shipped():
    assert {"reader-small", "reader-tiny", "reader-resnet18"} <= set(recipe_names())
