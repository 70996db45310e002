"""nhin replicate: one command writes all; wrong arguments are refused in one line."""

import os
import subprocess
import sys

import pytest

from nhin.cli.app import main


def test_one_family_is_written_and_reported(tmp_path, capsys):
    out = tmp_path / "runs" / "one"
    assert (
        main(["replicate", "cross", "--sweep", "d", "--X", "ones", "--method", "exact", "--out", str(out)])
        == 0
    )
    output = capsys.readouterr()
    assert "reconstruction" in output.out
    assert output.err == ""
    assert (out / "cross.png").read_bytes().startswith(b"\x89PNG")
    assert "reconstruction" in (out / "cross.svg").read_text("utf-8")
    assert (out / "results.csv").read_text("utf-8").count(",reconstruction,") == 6
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["replicate", "self", "--sweep", "d", "--out", str(out)]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("family", ["self", "regression"])
def test_the_same_bytes_come_from_any_number_of_threads(tmp_path, family):
    written = []
    for threads in ("1", "2"):
        out = tmp_path / threads
        sweep = ["--sweep", "d" if family == "self" else "m", "--repeats", "40", "--out", str(out)]
        done = subprocess.run(
            [sys.executable, "-m", "nhin", "replicate", family, *sweep],
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        written.append((out / "results.csv").read_bytes())
    assert written[0] == written[1]


def test_one_experiment_is_explained(capsys):
    assert main(["replicate", "explain", "n=200", "d=22"]) == 0
    output = capsys.readouterr().out
    assert "0.763346" in output
    assert "q = 0.983184" in output
    assert "linear attention succeeds" in output
    assert main(["replicate", "explain", "cross", "X=ones", "--cross-def", "c2"]) == 0
    assert "reconstruction" in capsys.readouterr().out
    assert main(["replicate", "explain", "regression", "n=100"]) == 0
    assert "0.892" in capsys.readouterr().out


def test_b_may_be_tied_to_c(capsys):
    assert main(["replicate", "explain", "c=.9", "--tie-b"]) == 0
    assert "b = 0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["explain", "n=205"], "multiple of d - 2"),
        (["explain", "n=1e3"], "whole number"),
        (["explain", "n=-20"], "n is -20"),
        (["explain", "a1=nan"], "a1 is nan"),
        (["explain", "size=3"], "no setting named"),
        (["explain", "n"], "no family named"),
        (["explain", "self", "n"], "sets nothing"),
        (["explain", "X=eyes"], "no X named"),
        (["explain", "regression", "tau=.9999", "n=10"], "tau"),
        (["self", "n=200"], "one word too many"),
        (["self", "--repeats", "0"], "repeats is 0"),
        (["self", "--seed=-1"], "seed is -1"),
        (["self", "--margin", "nan"], "margin is nan"),
        (["regression", "--tau", "1.5"], "tau is 1.5"),
        (["regression", "--sweep", "d"], "no sweep"),
        (["slef"], "slef"),
        (["self", "--sigmas", ".1"], "of train"),
        (["train", "--sweep", "n"], "leave out"),
        (["explain", "--repeats", "3"], "leave out"),
        (["explain", "--out", "here"], "leave out"),
        (["kernels", "poly5"], "no kernel named"),
        (["train", "softmaxx"], "no kernel named"),
        (["train", "--sigmas", "a,b"], "--sigmas looks like"),
        (["train", "--sigmas", "nan"], "sigmas[0] is nan"),
        (["train", "--sigmas=-1"], "sigmas[0] is -1"),
        (["train", "--lengths", "50"], "multiple of d - 2"),
        (["train", "--seeds", "0"], "seeds is 0"),
        (["train", "--steps", "0"], "steps is 0"),
    ],
)
def test_wrong_words_are_one_line_and_write_nothing(tmp_path, monkeypatch, capsys, words, output):
    monkeypatch.chdir(tmp_path)
    assert main(["replicate", *words]) == 2
    captured = capsys.readouterr()
    assert output in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_kernels_are_put_to_the_test(tmp_path, capsys):
    out = tmp_path / "kernels"
    assert main(["replicate", "kernels", "lin", "poly4", "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "scores to the power 4" in output
    assert {path.name for path in out.iterdir()} >= {
        "kernels.csv",
        "kernels.md",
        "kernels.png",
        "kernels.svg",
    }
    assert main(["replicate", "kernels", "--out", str(out)]) == 2


def test_a_study_of_training_is_written_and_gone_on_with(tmp_path, capsys):
    out = tmp_path / "study"
    words = [
        "replicate",
        "train",
        "softmax",
        "--sigmas",
        ".1",
        "--lengths",
        "",
        "--seeds",
        "1",
        "--steps",
        "3",
    ]
    assert main([*words, "--out", str(out)]) == 0
    assert "Bayes" in capsys.readouterr().out
    runs = (out / "runs.jsonl").read_bytes()
    assert main([*words, "--out", str(out)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*words, "--out", str(out), "--resume"]) == 0
    assert (out / "runs.jsonl").read_bytes() == runs
