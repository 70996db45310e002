"""The scripts behind the Makefile: pictures named in one string, and a .venv that is made once."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ảnh chụp").mkdir()
    for name in ("a.jpg", "b.jpg", "biển số 12.jpg", "ảnh chụp/phố cổ.png", "ảnh chụp/x$y'z.png"):
        (tmp_path / name).touch()
    return script("read").split_paths


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("", []),
        ("a.jpg", ["a.jpg"]),
        ("a.jpg b.jpg", ["a.jpg", "b.jpg"]),
        ("biển số 12.jpg", ["biển số 12.jpg"]),
        ("a.jpg biển số 12.jpg b.jpg", ["a.jpg", "biển số 12.jpg", "b.jpg"]),
        ("'biển số 12.jpg' a.jpg", ["biển số 12.jpg", "a.jpg"]),
        ("ảnh chụp/phố cổ.png ảnh chụp/x$y'z.png", ["ảnh chụp/phố cổ.png", "ảnh chụp/x$y'z.png"]),
        ("ảnh chụp", ["ảnh chụp"]),
        ("ảnh chụp/*.png b.jpg", ["ảnh chụp/phố cổ.png", "ảnh chụp/x$y'z.png", "b.jpg"]),
        ("không có.jpg", ["không có.jpg"]),
        ("a.jpg không có.jpg b.jpg", ["a.jpg", "không có.jpg", "b.jpg"]),
        ("-", ["-"]),
    ],
)
def test_one_string_names_pictures_whose_paths_have_spaces(pictures, named, found):
    assert pictures(named) == found


def test_a_python_too_old_can_read_the_script_that_tells_it_so(monkeypatch, capsys):
    ast.parse((SCRIPTS / "venv.py").read_text("utf-8"), feature_version=(3, 6))
    venv = script("venv")
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert venv.main(["read"]) == 1
    assert "3.11" in capsys.readouterr().err


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """Give venv.py a clone of its own, where making and installing only leave a trace."""
    venv = script("venv")
    for name in venv.NAMES:
        (tmp_path / name).write_text("as it was")
    made = tmp_path / ".venv"
    for name, value in {
        "ROOT": tmp_path,
        "VENV": made,
        "PYTHON": made / "bin" / "python",
        "HALF": made / ".half-made",
    }.items():
        monkeypatch.setattr(venv, name, value)
    venv.done = []

    def make():
        venv.done.append("make")
        venv.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        venv.PYTHON.touch(mode=0o755)
        return True

    def install(job):
        venv.done.append(f"install {job}")
        return True

    monkeypatch.setattr(venv, "_make", make)
    monkeypatch.setattr(venv, "_install", install)
    monkeypatch.setattr(venv, "_alive", lambda: venv.PYTHON.exists() and not venv.HALF.exists())
    monkeypatch.setattr(venv, "_works", lambda job: True)
    return venv


def test_a_second_run_does_nothing(venv):
    assert [venv.main(["read"]), venv.main(["read"])] == [0, 0]
    assert venv.done == ["make", "install read"]


def test_the_environment_of_the_tests_serves_reading_and_reading_is_added_to(venv):
    venv.main(["read"])
    venv.main(["test"])
    venv.main(["read"])
    assert venv.done == ["make", "install read", "install test"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_again(venv, name):
    venv.main(["read"])
    (venv.ROOT / name).write_text("changed")
    venv.main(["read"])
    assert venv.done == ["make", "install read", "install read"]


def test_an_environment_cut_off_half_way_is_made_again(venv):
    venv._make()
    venv.HALF.touch()
    assert venv.main(["read"]) == 0
    assert venv.done == ["make", "make", "install read"]
    assert not venv.HALF.exists()


def test_an_environment_whose_python_is_gone_is_made_again(venv):
    venv.main(["read"])
    venv.PYTHON.unlink()
    venv.main(["read"])
    assert venv.done == ["make", "install read", "make", "install read"]


def test_packages_that_do_not_import_are_installed_anew_once(venv, monkeypatch):
    venv._make()
    answers = iter([False, True])
    monkeypatch.setattr(venv, "_works", lambda job: next(answers))
    assert venv.main(["read"]) == 0
    assert venv.done.count("make") == 2


def test_what_cannot_be_installed_leaves_no_stamp(venv, monkeypatch):
    monkeypatch.setattr(venv, "_install", lambda job: False)
    assert venv.main(["read"]) == 1
    assert not (venv.VENV / ".ready-read").exists()
