"""The command line answers at once, and every failure is one line with its own exit code."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from nhin import __version__, errors
from nhin.cli import app as module
from nhin.cli.app import COMMANDS, main
from nhin.errors import Diverged, PictureError, ProcessError

ROOT = Path(__file__).resolve().parents[2]


def test_help_names_every_command_and_exits_well(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_body_with_help(name, capsys):
    path, function = COMMANDS[name][0].split(":")
    pytest.importorskip(path)
    assert callable(getattr(importlib.import_module(path), function))
    assert main([name, "--help"]) == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["raed", "x"], "did you mean read"),
        (["read", "--frmat", "tsv", "x"], "--format"),
        (["read", "x", "--format", "xml"], "xml"),
        (["read", "--weights"], "--weights"),
        (["read"], "nothing to read"),
        (["read", "x", "--fromat=tsv"], "did you mean --format"),
        (["read", "x", "-q"], "-q"),
        (["synth"], "OUT"),
        (["synth", "x", "--count", "many"], "many"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(tokens, message, capsys):
    assert main(tokens) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def raising(monkeypatch, error: BaseException) -> int:
    def fail(words: list[str]) -> None:
        raise error

    monkeypatch.setattr(module, "app", fail)
    return main([])


def test_errors_of_nhin_are_one_line_with_their_code(monkeypatch, capsys):
    assert raising(monkeypatch, PictureError("a.png is\ntorn")) == 3
    assert raising(monkeypatch, Diverged("loss is nan")) == 5
    assert capsys.readouterr().err == "nhin: a.png is torn\nnhin: loss is nan\n"


def test_what_another_process_has_said_is_not_said_again(monkeypatch, capsys):
    assert raising(monkeypatch, ProcessError("another process failed", 4, is_reported=True)) == 4
    assert raising(monkeypatch, ProcessError("another process is gone")) == 5
    monkeypatch.undo()
    for rank in "01":
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert main(["train", "lm-nano", "--setty", "1"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "nhin: another process is gone"
    assert second.startswith("nhin: Unknown option")


def test_an_interruption_is_130(monkeypatch, capsys):
    assert raising(monkeypatch, KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_package_that_is_not_installed_is_named(monkeypatch, capsys):
    missing = ModuleNotFoundError("No module named 'torch'", name="torch")
    wrapped = ImportError("Cannot import module")
    wrapped.__cause__ = missing
    for error in (missing, wrapped):
        assert raising(monkeypatch, error) == 4
        assert f"pip install -e {ROOT}[torch]" in capsys.readouterr().err.replace("'", "")


def test_a_wheel_is_installed_again_from_its_file(monkeypatch):
    monkeypatch.setattr(errors, "__file__", "/usr/lib/python3/site-packages/nhin/errors.py")
    advice = errors.explain_install()
    assert re.search(r"pip install '\./nhin[^ ]*\.whl\[torch\]'$", advice)


def test_what_a_terminal_would_obey_is_escaped_and_a_line_has_an_end(monkeypatch, capsys):
    assert raising(monkeypatch, PictureError("\x1b[2J\x9b\x07 tệp.png" + "x" * 10**6)) == 3
    line = capsys.readouterr().err
    assert line.startswith("nhin: \\x1b[2J\\x9b\\x07 tệp.png")
    assert len(line) < 3000


def test_our_own_mistakes_are_not_hidden(monkeypatch):
    for error in (
        ModuleNotFoundError("no", name="nhin.cli.lost"),
        ImportError("cannot import name"),
        ZeroDivisionError(),
    ):
        with pytest.raises(type(error)):
            raising(monkeypatch, error)


def test_json_stays_readable_in_any_locale(monkeypatch, capfd):
    """The streams are UTF-8 even when Python opened them as ASCII."""
    import io

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(module, "app", lambda words: sys.stdout.write(json.dumps("Phở", ensure_ascii=False)))
    main([])
    assert raw.getvalue().decode("utf-8") == '"Phở"'
