"""``nhin bench attention``, with probes in this process and sizes that cost nothing."""

from contextlib import contextmanager

import pytest

from nhin.bench import probe
from nhin.bench.results import load_results
from nhin.cli.app import main

TINY = "softmax --lengths 4 --phases forward --dtypes float32 --heads 2 --head-dims 4 --repeats 3".split()


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    @contextmanager
    def open_probe(device, threads, limits):
        yield probe.probe_here

    monkeypatch.setattr(probe, "open_probe", open_probe)


def test_a_run_writes_results_table_and_plots_and_is_continued_only_when_asked(tmp_path, capsys):
    command = ["bench", "attention", *TINY, "--out", str(tmp_path)]
    assert main(command) == 0
    assert {f"attention.{ending}" for ending in ("json", "md", "png", "svg")} == {
        p.name for p in tmp_path.iterdir()
    }
    before = load_results(tmp_path / "attention.json")
    assert [row.cell.mechanism for row in before.rows] == ["sdpa", "softmax"]
    assert all(row.seconds and row.low <= row.seconds <= row.high for row in before.rows)
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "window", "--resume"]) == 0
    after = load_results(tmp_path / "attention.json").rows
    assert [row.cell.mechanism for row in after] == ["sdpa", "softmax", "window"]
    assert main([*command, "--resume", "--seed", "4"]) == 2
    assert "seed 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("windo", "window"),
        ("window --lengths 0", "length is 0"),
        ("window --lengths 1000000000000", "length is 1000000000000"),
        ("window --lengths 8,x", "lengths look like"),
        ("window --phases forwards", "forward"),
        ("window --heads 8 --kv-heads 3", "divides"),
        ("window --memory much", "memory looks like"),
        ("window --budget soon", "budget looks like"),
        ("window --device cuda", "finds no such GPU"),
        ("window --device tpu", "tpu"),
        ("window --resume", "No such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["bench", "attention", *words.split(), "--out", str(tmp_path / "out")]) in (2, 3)
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_budget_of_nothing_leaves_rows_with_that_reason(tmp_path):
    assert main(["bench", "attention", *TINY, "--out", str(tmp_path), "--budget", "0s"]) == 0
    rows = load_results(tmp_path / "attention.json").rows
    assert {row.skipped for row in rows} == {"the time budget was over"}
