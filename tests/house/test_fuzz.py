"""The harnesses find nothing wrong in a few mutants of files that strangers may have made."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from random import Random

import pytest

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["recipes", "datasets", "checkpoints"])
def test_a_few_mutants_are_opened_or_refused_in_one_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FUZZ))
    recipes, harness, runner = (import_module(one) for one in ("recipes", name, "runner"))
    monkeypatch.setattr(recipes, "TOKENS", tmp_path / "tokens")
    monkeypatch.setattr(recipes, "limit_memory", lambda: None)  # mutants are opened in this process
    if name == "checkpoints":
        monkeypatch.setattr(harness, "HOME", tmp_path / "runs")
    getattr(harness, "prepare_runs", recipes.prepare_tokens)()
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        sentence = harness.make(Random(f"{name} {number}"), folder)
        outcome = runner.try_here(harness.attempt, folder)
        assert outcome.verdict in ("opened", "refused"), f"{number}: {sentence}: {outcome.message}"
    for module in ("recipes", "datasets", "checkpoints", "runner", "mutate"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(("name", "count"), [("weights", 6), ("pictures", 30)])
def test_a_few_mutants_of_what_is_read_are_opened_or_refused_in_one_line(name, count, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FUZZ))
    harness, runner = (import_module(one) for one in (name, "runner"))
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        sentence = harness.make(Random(f"{name} {number}"), folder)
        outcome = runner.try_here(harness.attempt, folder)
        assert outcome.verdict in ("opened", "refused"), f"{number}: {sentence}: {outcome.message}"
    for module in (name, "runner", "mutate"):
        sys.modules.pop(module, None)


TWO_PROCESSES = """
import subprocess, sys
from pathlib import Path
from runner import try_apart
child = [sys.executable, "-c", "b'x' * 200_000_000"]
print(try_apart(lambda folder: subprocess.run(child, check=True), Path()).bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sizes are in KiB on Linux")
def test_the_memory_of_a_mutant_is_its_own_and_that_of_its_child_counted_once():
    command = [sys.executable, "-c", TWO_PROCESSES]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=FUZZ)
    assert 200e6 < int(done.stdout) < 350e6
