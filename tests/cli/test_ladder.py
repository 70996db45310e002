"""``nhin ladder``: a table, files beside it, and one line for each error."""

import json
import os
import random
import signal

import pytest

from nhin.cli.app import main
from nhin.data.text.prepare import SplitConfig, prepare
from nhin.studies.ladder.jobs import LadderTask

SMALL = ["--dim", "8", "--heads", "2", "--context", "8", "--batch", "2", "--depths", "1,2", "--seeds", "2"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    rng = random.Random(0)
    sentences = "".join(f"{rng.choice('abc') * 3} sees {rng.choice('xyz') * 2}.\n" for _ in range(60))
    (folder / "text.txt").write_text(sentences, encoding="utf-8")
    prepare(
        str(folder / "text.txt"), "char", folder / "tokens", SplitConfig(block=100, validation=0.3, test=0.0)
    )
    return folder / "tokens"


@pytest.fixture
def few(monkeypatch):
    """Steps that no clock decides."""
    monkeypatch.setattr("nhin.studies.ladder.plan.affordable_steps", lambda *given: 4)


def test_it_prints_the_table_and_leaves_it_as_files(text, tmp_path, few, capsys):
    out = tmp_path / "climb"
    given = ["--data", str(text), "--out", str(out), "--rates", "1e-2", "--budget", "2s", *SMALL]
    assert main(["ladder", *given]) == 0
    captured = capsys.readouterr()
    table = (out / "ladder.md").read_text(encoding="utf-8")
    assert captured.out == f"{table}\nall in {out}\n"
    for rung in (
        "lm-ngram-1",
        "lm-ngram-5",
        "lm-bigram",
        "lm-one-head",
        "lm-one-block",
        "lm-blocks-2",
        "lm-modern-1",
    ):
        assert f"\n| {rung} |" in table
    assert len(captured.err.splitlines()) == 5 + 7 * 2
    tree = json.loads((out / "ladder.json").read_text(encoding="utf-8"))
    assert (tree["about"]["seeds"], tree["about"]["budget"], tree["about"]["dim"]) == (2, 2.0, 8)
    assert {row["rate"] for row in tree["rows"]} == {None, 0.01}
    assert (out / "ladder.png").read_bytes()[1:4] == b"PNG"


def test_stopped_it_says_so_and_resumed_it_needs_no_option_again(text, tmp_path, few, capsys, monkeypatch):
    loss, counted = LadderTask.loss, iter(range(10**6))

    def interrupted(self, model, batch):
        if next(counted) == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, model, batch)

    monkeypatch.setattr(LadderTask, "loss", interrupted)
    given = [
        "--data",
        str(text),
        "--out",
        str(tmp_path / "climb"),
        "--rates",
        "1e-2",
        "--budget",
        "2s",
        *SMALL,
    ]
    assert main(["ladder", *given]) == 130
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()[-1]) == ("", "stopped; go on with --resume")
    assert main(["ladder", "--out", str(tmp_path / "climb"), "--resume"]) == 0
    assert "| lm-modern-2 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--budget", "soon"], 2, "a budget looks like 90s, 30m or 2h, not 'soon'"),
        (
            ["--budget", "1s"],
            2,
            "a budget of 1s is too small for 42 runs: with 30 steps each they need about",
        ),
        (["--depths", "2,,4"], 2, "depths look like 2,4,8"),
        (["--depths", "4,2"], 2, "give each once, rising"),
        (["--rates", "-1"], 2, "rates[0] is -1.0; give more than 0"),
        (["--seeds", "0"], 2, "--seeds is 0; give 1 to 100"),
        (["--dim", "9"], 2, "heads is 2, which does not divide dim 9"),
        (["--context", "9000"], 3, "the context may be"),
        (["--resume"], 4, "there is no ladder in"),
    ],
)
def test_what_cannot_be_is_one_line(text, tmp_path, capsys, given, code, words):
    small = [
        word for pair in zip(SMALL[::2], SMALL[1::2], strict=True) if pair[0] not in given for word in pair
    ]
    exit_code = main(["ladder", "--data", str(text), "--out", str(tmp_path / "climb"), *small, *given])
    captured = capsys.readouterr()
    assert (exit_code, captured.out) == (code, "")
    assert captured.err.startswith("nhin: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_it_is_in_the_table_of_contents(capsys):
    assert main(["--help"]) == 0
    assert "ladder" in capsys.readouterr().out
