"""The repository keeps its own rules: errors, recipes, versions, layers, sizes, and nothing foreign in it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from nhin import config, errors

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TEXT = {".py", ".md", ".toml", ".txt", ".cfg", ".json", ".yml", ""}


def kept_files() -> list[Path]:
    """List the files git keeps or would keep."""
    ask = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a clone: what git keeps cannot be asked")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_the_repository_holds_no_links():
    """A link to a folder of one machine breaks every other clone."""
    done = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a clone: what git keeps cannot be asked")
    assert [row for row in done.stdout.splitlines() if row.startswith("120000")] == []


def test_every_error_is_drawn_in_the_tree_with_its_exit_code():
    drawn = dict(re.findall(r"^[├└]── (\w+) .*\(exit code (\d)\)$", errors.__doc__ or "", re.MULTILINE))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    found = {
        kind.__name__: str(kind.exit_code)
        for kind in kinds
        if issubclass(kind, errors.NhinError) and kind is not errors.NhinError
    }
    assert drawn == found
    assert set(found.values()) <= {"2", "3", "4", "5"}


@pytest.mark.parametrize("name", config.recipe_names())
def test_every_recipe_loads(name):
    from nhin.detection.recipe import DetectorRecipe as OfPages
    from nhin.lm.recipe import LMRecipe as OfLanguage
    from nhin.models.config import resolve
    from nhin.ocr.recipe import OCRRecipe as OfReader
    from nhin.seq2seq.recipe import Seq2SeqRecipe as OfPairs

    kinds = {"lm": OfLanguage, "reader": OfReader, "seq2seq": OfPairs, "detector": OfPages}
    workflow = "reader" if name == "ocr-report" else name.partition("-")[0]
    recipe = config.load_recipe(kinds[workflow], name)
    assert recipe.schedule.steps > 0
    assert recipe.workflow == workflow
    if isinstance(recipe, OfLanguage):
        assert resolve(recipe.model).depth == recipe.model.depth


def test_every_dependency_has_an_exact_version_inside_its_range():
    rows = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(row.lower().replace("_", "-").split("==") for row in rows if row and not row.startswith("#"))
    wanted = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"]]
    for group in PROJECT["project"]["optional-dependencies"].values():
        wanted += group
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement
    assert pins["torch"] == "2.13.0"


def test_torch_is_not_in_the_base_install():
    names = {Requirement(line).name for line in PROJECT["project"]["dependencies"]}
    assert not names & {"torch", "torchvision", "onnx", "onnxscript", "matplotlib"}


def test_the_readme_draws_the_layers_that_are_checked():
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    block = next(part for part in (ROOT / "README.md").read_text("utf-8").split("```") if "\ncli " in part)
    drawn = [re.split(r"\s{3,}", line)[0].strip() for line in block.strip().splitlines()]
    assert drawn == layers


def test_every_family_of_attention_is_held_apart_from_the_others():
    apart = PROJECT["tool"]["importlinter"]["contracts"][2]
    folders = {path.parent.name for path in (ROOT / "src/nhin/attention").glob("*/__init__.py")}
    assert apart["type"] == "independence"
    assert set(apart["modules"]) == {f"nhin.attention.{name}" for name in folders}
    assert "ignore_imports" not in apart


def test_sizes_stay_within_bounds():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "sizes.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_nothing_of_a_machine_or_of_foreign_data_is_kept():
    # Written in two halves, so that this file does not find itself.
    never = [
        r"\.\./sha" r"red",
        r"(?<![\w.])/(?:ho" r"me|Us" r"ers|wo" r"rk|ro" r"ot)/\w",
        r"^\s*(?:import|from) (?:c?pick" r"le|di" r"ll|job" r"lib)\b",
        r"torch\.lo" r"ad\((?!.*weights_only=True\))",  # which runs no code of the file
        r"^from __fut" r"ure__ import annotations",
    ]
    pattern = re.compile("|".join(never), re.MULTILINE)
    for path in kept_files():
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".npz"}, path
        assert path.stat().st_size < 32 * 2**20, f"{path} is too large to keep"
        if path.suffix in TEXT:
            found = pattern.search(path.read_text("utf-8"))
            assert not found, f"{path.relative_to(ROOT)} holds {found and found[0]!r}"


def test_every_package_is_marked_as_typed_and_explained():
    assert (ROOT / "src" / "nhin" / "py.typed").is_file()
    for path in (ROOT / "src" / "nhin").rglob("__init__.py"):
        assert path.read_text("utf-8").lstrip('r"').strip(), f"{path} does not say what it is"


def test_nobody_is_told_to_install_the_name_from_an_index():
    """Anyone could register it there: installing is from a clone or from a wheel's file."""
    advice = re.compile(
        r"\b(?:pip3?|pipx|uv|poetry|conda)\b[^\n]*\b(?:install|add)\b[^\n]*[\s'\"=]nhin(?![\w/.-])"
    )
    for text in ("pip install nhin", "pip install 'nhin[torch]'", "uv add nhin>=1", "pip install -U nhin"):
        assert advice.search(text)
    for text in (
        "pip install -e '.[torch]'",
        "pip install './nhin-1.whl[torch]'",
        "pip install torch; nhin read",
    ):
        assert not advice.search(text.partition(";")[0])
    texts = [path for path in kept_files() if path.suffix in TEXT and "tests" not in path.parts]
    assert [path.name for path in texts if advice.search(path.read_text("utf-8", errors="replace"))] == []
