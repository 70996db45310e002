"""The package keeps the laws that only the whole of it shows: what imports what, and what is called what."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "house.py"
spec = importlib.util.spec_from_file_location("script_house", SCRIPT)
assert spec
assert spec.loader
house = importlib.util.module_from_spec(spec)
spec.loader.exec_module(house)


def told(found):
    """List every offender: pytest itself shows the first ones only."""
    return "\n".join(["", *found])


@pytest.fixture(scope="module")
def package():
    return house.parse(house.ROOT / "src" / "nhin")


def test_no_modules_import_each_other_in_a_circle(package):
    assert not (found := house.find_cycles(package)), told(found)


def test_nothing_is_imported_where_no_checker_sees_it(package):
    assert not (found := house.find_hidden_imports(package)), told(found)


def test_every_class_name_occurs_once_in_the_package(package):
    assert not (found := house.find_twice_named_classes(package)), told(found)


def test_every_package_says_more_than_the_name_of_its_folder(package):
    assert not (found := house.find_empty_descriptions(package)), told(found)


def test_no_family_of_attention_imports_another(package):
    assert not (found := house.find_family_crossings(package)), told(found)


@pytest.fixture
def small(tmp_path):
    """Return a function that parses a small package of the given modules."""

    def make(**texts):
        for name, text in texts.items():
            path = tmp_path / "nhin" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            for folder in [path.parent, *path.parent.parents]:
                if folder.is_relative_to(tmp_path / "nhin"):
                    (folder / "__init__.py").touch()
        return house.parse(tmp_path / "nhin")

    return make


def test_a_circle_of_three_is_found_once_wherever_its_imports_stand(small):
    found = small(
        a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nhin import b",
        b="def late():\n    import nhin.c",
        c="from nhin.a import thing",
        d="from nhin.a import thing\nimport nhin",
    )
    assert house.find_cycles(found) == ["nhin.a -> nhin.b -> nhin.c -> nhin.a"]


def test_hidden_imports_are_found_and_reading_files_is_none(small):
    found = small(
        a="from importlib import import_module",
        b="import importlib",
        c="x = __import__('nhin.a')",
        d="from importlib.resources import files\nfrom importlib.util import find_spec",
        e="import importlib.metadata",
    )
    assert house.find_hidden_imports(found) == [
        "nhin.a:1 imports importlib.import_module",
        "nhin.b:1 imports importlib",
        "nhin.c:1 calls __import__",
    ]


def test_a_class_named_twice_is_found_in_both_places(small):
    found = small(a="class One: ...\nclass Two: ...", b="def make():\n    class One: ...")
    assert house.find_twice_named_classes(found) == ["One in nhin.a:1, nhin.b:2"]


def test_a_package_that_says_its_name_alone_is_found(small, tmp_path):
    found = small(a__b="")
    assert [line.split(":")[0] for line in house.find_empty_descriptions(found)] == ["nhin", "nhin.a"]
    (tmp_path / "nhin" / "a" / "__init__.py").write_text(f'"""A.\n\n{"What it is for. " * 4}"""')
    assert house.find_empty_descriptions(house.parse(tmp_path / "nhin")) == ["nhin: '' (0 of 60 characters)"]


def test_a_family_may_import_the_root_of_attention_and_no_other_family(small):
    found = small(
        attention__base="",
        attention__band__window="from nhin.attention.base import x\nfrom nhin.attention.exact import flash",
        attention__exact__flash="",
        attention__positions__registry="from nhin.attention.exact.flash import x",
        attention__registry="from nhin.attention.band.window import x",
    )
    assert house.find_family_crossings(found) == [
        "nhin.attention.band.window imports nhin.attention.exact.flash"
    ]


def test_the_script_refuses_what_the_laws_refuse(monkeypatch, capsys, small, tmp_path):
    small(a="class One: ...\nclass One: ...")
    (tmp_path / "src").mkdir()
    (tmp_path / "nhin").rename(tmp_path / "src" / "nhin")
    monkeypatch.setattr(house, "ROOT", tmp_path)
    assert house.main() == 1
    assert "class named twice: One in nhin.a:1, nhin.a:2" in capsys.readouterr().out
    (tmp_path / "src" / "nhin" / "a.py").write_text("class One: ...")
    (tmp_path / "src" / "nhin" / "__init__.py").write_text(f'"""{"What it is for. " * 4}"""')
    assert house.main() == 0
