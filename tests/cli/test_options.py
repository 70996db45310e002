"""Every number of the command line has a range, and is refused outside it before anything is loaded."""

from dataclasses import is_dataclass
from importlib import import_module
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from nhin.cli import app as module
from nhin.cli.app import COMMANDS, main
from nhin.cli.output import print_error
from nhin.ranges import Range


def list_options(declared: Any) -> list[tuple[str, bool]]:
    """List the numbers among the options of a command, and whether each has a range."""
    found = []
    for name, hint in get_type_hints(declared, include_extras=True).items():
        rules = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        bare = get_args(hint)[0] if rules else hint
        if is_dataclass(bare):
            found += list_options(bare)
        elif name != "return" and {int, float} & {bare, *get_args(bare)} and get_origin(bare) is not tuple:
            found.append((name, any(isinstance(rule, Range) for rule in rules)))
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_number_of_a_command_has_a_range(command):
    module, _, function = COMMANDS[command][0].partition(":")
    options = list_options(getattr(import_module(module), function))
    assert [name for name, has_range in options if not has_range] == []


@pytest.mark.parametrize("threads", ["0", "-1", "100000", "1" * 5000, "x"])
@pytest.mark.parametrize("words", [["evaluate", "no-model", "no-data"], ["sample", "no-run"]])
def test_a_number_of_threads_that_cannot_be_is_one_line_and_exit_code_2(words, threads, capsys):
    assert main([*words, f"--threads={threads}"]) == 2
    error = capsys.readouterr().err
    assert "--threads" in error
    assert error.count("\n") == 1
    assert len(error) < 500


@pytest.mark.parametrize("threads", ["0", "-1", "100000", "1" * 5000, "nan"])
@pytest.mark.parametrize("recipe", ["lm-nano", "reader-tiny"])
def test_threads_of_a_recipe_have_the_same_range(recipe, threads, capsys, tmp_path):
    words = ["train", recipe, "--out", str(tmp_path / "run"), "--set", f"training.threads={threads}"]
    assert main(words) == 2
    assert "training:threads" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_options_in_groups_and_under_other_names_are_checked(capsys):
    assert main(["train", "lm-nano", "--budget-steps", "0"]) == 2
    assert "--budget-steps is 0; give 1 to" in capsys.readouterr().err
    assert main(["evaluate", "no-model", "no-data", "--limit", "0"]) == 2
    assert "--limit is 0; give 1 to" in capsys.readouterr().err
    assert main(["show", "attention", "softmax", "--head-dim", "5000"]) == 2
    assert "--head-dim is 5000; give 1 to 1024" in capsys.readouterr().err


def test_an_error_is_one_short_line_whatever_is_in_it(capsys):
    print_error("half \ud800 a character\nand " + "x" * 9000)
    error = capsys.readouterr().err
    assert error.startswith("nhin: half \ufffd a character and x")
    assert error.count("\n") == 1
    assert len(error) < 2100


@pytest.mark.parametrize(
    "why",
    [
        MemoryError(),
        RuntimeError("you tried to allocate memory: can't allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Storage size calculation overflowed with sizes=[99999, 99999]"),
    ],
)
def test_too_little_memory_is_one_line_and_another_mistake_is_not_hidden(why, monkeypatch, capsys):
    def fail(words: object) -> None:
        raise why

    monkeypatch.setattr(module, "app", fail)
    assert main(["list"]) == 3
    assert "there is not enough memory" in capsys.readouterr().err
    why = RuntimeError("a mistake of ours")
    with pytest.raises(RuntimeError, match="of ours"):
        main(["list"])
