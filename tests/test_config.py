"""Laws of recipes: a typo is refused with a message that says where it is."""

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest

from nhin.config import (
    check_arguments,
    check_fields,
    from_dict,
    load_recipe,
    override,
    recipe_names,
    to_dict,
)
from nhin.data.images.bucket_sampler import StreamPosition
from nhin.data.images.synthetic import SyntheticSource
from nhin.data.text.manifest import Manifest
from nhin.data.text.sampler import WindowPosition
from nhin.errors import RecipeError, UnknownName, UsageError
from nhin.lm.recipe import LMRecipe
from nhin.models.recognizer import RecognizerNet
from nhin.ocr.recipe import OCRRecipe
from nhin.ranges import Length, Range
from nhin.studies.ladder.jobs import RunResult
from nhin.studies.ladder.plan import LadderPlan
from nhin.studies.separation.kernels_study.kernel_test import KernelTest
from nhin.studies.separation.kernels_study.training_study import StudyPlan, StudyRun
from nhin.studies.separation.run import SweepRequest


@dataclass(frozen=True)
class Model:
    dim: int = 64
    rate: float = 0.1
    shape: Literal["cosine", "sqrt"] = "cosine"
    names: tuple[str, ...] = ()
    cache: str | None = None


@dataclass(frozen=True)
class Settings:
    seed: Annotated[int, Range(0, 2**63)] = 0
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


HUGE = 2**20000  # of over 4,300 digits, which Python does not write


@dataclass(frozen=True)
class Bounded:
    size: Annotated[int, Range(1, 8)] = 1
    share: Annotated[float | None, Range(0, below=1)] = None
    name: Annotated[str, Length(1, 4)] = "a"
    pair: Annotated[tuple[Annotated[float, Range(above=0)], ...], Length(2, 2)] = (1.0, 1.0)
    counts: dict[str, Annotated[int, Range(0)]] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        check_fields(self)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("size", 0, "size is 0; give 1 to 8"),
        ("size", HUGE, "size is a value too long to show"),
        ("size", datetime.date(2020, 1, 1), "size must be int"),
        ("share", 1, "share is 1.0; give at least 0 and less than 1"),
        ("share", math.nan, "share is nan"),
        ("share", 10**400, "share is inf"),
        ("name", "", "name has 0 characters; give 1 to 4"),
        ("name", "a\0b", "name has a control character"),
        ("name", "\ud800", "name has a control character"),
        ("pair", [1.0], "pair has 1 items; give 2 to 2"),
        ("pair", [1.0, 0.0], r"pair\[1\] is 0.0; give more than 0"),
        ("counts", {"a": -1}, "counts:a is -1; give at least 0"),
        ("free", {"a": math.inf}, "free:a is inf"),
        ("free", {"a": 2**70}, "free:a is 1180591620717411303424"),
        ("free", {"a": [[[[[1]]]]]}, "free:a must be a number, a text or a short list"),
        ("free", {"a": [0] * 2000}, "free:a has 2000 items"),
        ("free", {"a": datetime.time()}, "free:a must be a number"),
    ],
    ids=lambda _: "",
)
def test_a_value_out_of_its_declared_range_is_refused_from_a_file_and_from_python(key, value, words):
    with pytest.raises(RecipeError, match=f"^x:{words}"):
        from_dict(Bounded, {key: value}, "x")
    with pytest.raises(UsageError, match=f"^{words}"):
        Bounded(**{key: value})


def test_arguments_are_checked_by_what_a_function_declares():
    def build(size: Annotated[int, Range(1, 8)] = 1, rate: float = 1.0) -> None: ...

    assert check_arguments(build, {"size": 8, "rate": 2}, "x") == {"size": 8, "rate": 2.0}
    with pytest.raises(RecipeError, match="x:size is 9; give 1 to 8"):
        check_arguments(build, {"size": 9}, "x")
    with pytest.raises(UnknownName, match="did you mean size"):
        check_arguments(build, {"sise": 9}, "x")


def _settings(kind: Any, seen: set[Any]) -> Iterator[tuple[str, bool]]:
    """Yield each number that is read from a file, and whether it has a range."""
    for one in fields(kind):
        yield from _numbers(get_type_hints(kind, include_extras=True)[one.name], one.name, False, seen)


def _numbers(hint: Any, name: str, has_range: bool, seen: set[Any]) -> Iterator[tuple[str, bool]]:
    if is_dataclass(hint):
        if hint not in seen:
            seen.add(hint)
            yield from ((f"{name}.{key}", found) for key, found in _settings(hint, seen))
    elif hint in (int, float):
        yield name, has_range
    else:
        rules = getattr(hint, "__metadata__", ())
        ranged = any(isinstance(rule, Range) for rule in rules) or (
            has_range and get_origin(hint) is not tuple
        )
        for inner in (hint.__origin__,) if rules else get_args(hint):
            yield from _numbers(inner, name, ranged, seen)


READ = (
    WindowPosition,
    StreamPosition,
    LMRecipe,
    OCRRecipe,
    Manifest,
    LadderPlan,
    RunResult,
    StudyPlan,
    StudyRun,
    KernelTest,
    SweepRequest,
)


@pytest.mark.parametrize("kind", READ, ids=[kind.__name__ for kind in READ])
def test_every_number_of_a_recipe_a_manifest_and_a_plan_has_a_range(kind):
    found = list(_settings(kind, {kind}))
    assert found
    assert [name for name, has_range in found if not has_range] == []


def test_every_number_of_a_network_and_a_source_has_a_range():
    for function in (RecognizerNet.__init__, SyntheticSource.__init__):
        for name, hint in get_type_hints(function, include_extras=True).items():
            assert name == "charset" or all(found for _, found in _numbers(hint, name, False, set())), name


@pytest.mark.parametrize(
    "content",
    [
        "model = " + "[" * 5000,
        "a." * 1500 + "a = 1",
        "model = {" + "a = {" * 900,
        f"seed = {'9' * 5000}",
        f"seed = 0x{'f' * 4000}",
        "seed = nan",
        "model.dim = 2020-01-01",
        "seed = 2020-13-41",
        "\n".join(f"k{i} = 1" for i in range(9000)),
        "#" * 5000,
    ],
)
def test_a_recipe_of_a_stranger_is_refused_in_one_short_line(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises((RecipeError, UnknownName)) as caught:
        load_recipe(Settings, path)
    assert len(str(caught.value)) < 500
    with pytest.raises((RecipeError, UnknownName)) as caught:
        load_recipe(Settings, "reader-tiny", [content])
    assert len(str(caught.value)) < 500


def test_a_setting_of_a_huge_number_is_refused_from_the_command_line():
    for value in ("1" * 5000, "nan", "1e999", "-1", "[" * 3000):
        with pytest.raises(RecipeError):
            load_recipe(LMRecipe, "lm-nano", [f"training.threads={value}"])
    with pytest.raises(RecipeError, match="training:betas has 1 items; give 2 to 2"):
        load_recipe(LMRecipe, "lm-nano", ["training.betas=[0.9]"])
