"""``nhin prepare``: text in, tokens out, and one clear line when that cannot be."""

import sys

import pytest

from nhin.cli.app import main
from nhin.data.text.prepare import open_tokens

TEXT = "".join(f"line {i}, xin chào\n" for i in range(200))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "thơ.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def prepare(text, out, *options: str) -> int:
    return main(["prepare", str(text), "--out", str(out), *options])


def test_a_file_becomes_tokens_and_the_summary_counts_them(text, tmp_path, capsys):
    assert prepare(text, tmp_path / "out", "--tokenizer", "char", "--split", "tail", "--test", "0") == 0
    corpus = open_tokens(tmp_path / "out")
    train = corpus.split("train")
    assert corpus.tokenizer.decode(train.read(0, len(train))) == TEXT[: int(0.95 * len(TEXT))]
    captured = capsys.readouterr()
    assert captured.err == ""
    ratio = f"{len(TEXT[: len(train)].encode()) / len(train):.2f} bytes per token"
    assert f"train: {len(train):,} tokens for {len(train):,} characters, {ratio}" in captured.out
    assert f"char: {corpus.tokenizer.vocab} ids" in captured.out
    assert "test:" not in captured.out


def test_every_option_reaches_the_preparation(text, tmp_path):
    options = ["--tokenizer", "bpe:300", "--validation", "0.2", "--test", "0.1", "--seed", "3"]
    assert prepare(text, tmp_path / "out", *options) == 0
    manifest = open_tokens(tmp_path / "out").manifest
    assert (manifest.asked, manifest.split.split) == ("bpe:300", "blocks")
    assert (manifest.split.validation, manifest.split.test, manifest.split.seed) == (0.2, 0.1, 3)


def test_given_again_it_says_the_same(text, tmp_path, capsys):
    assert prepare(text, tmp_path / "out") == 0
    first = capsys.readouterr().out
    assert prepare(text, tmp_path / "out") == 0
    assert capsys.readouterr().out == first


def test_files_left_out_are_counted(text, tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    text.rename(tmp_path / "texts" / "a.txt")
    (tmp_path / "texts" / "b.png").write_bytes(b"\0")
    assert prepare(tmp_path / "texts", tmp_path / "out", "--tokenizer", "byte") == 0
    assert "1 document (left out: 1 binary)" in capsys.readouterr().out


def test_progress_is_shown_to_those_who_watch_and_only_on_standard_error(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert prepare(text, tmp_path / "out") == 0
    captured = capsys.readouterr()
    assert all(word in captured.err for word in ("reading", "learning", "encoding"))
    assert "reading" not in captured.out


@pytest.mark.parametrize(
    ("source", "options", "code"),
    [
        ("nowhere", [], 3),
        ("empty", [], 3),
        ("one", [], 3),
        ("binary", [], 3),
        ("latin", [], 3),
        ("thơ.txt", ["--tokenizer", "bpe"], 2),
        ("thơ.txt", ["--tokenizer", "chars"], 2),
        ("thơ.txt", ["--tokenizer", "bpe:99"], 2),
        ("thơ.txt", ["--validation", "0.7", "--test", "0.7"], 2),
        ("thơ.txt", ["--validation", "nan"], 2),
        ("thơ.txt", ["--split", "half"], 2),
        ("thơ.txt", ["--seed", "-1"], 2),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    text, tmp_path, capsys, monkeypatch, source, options, code
):
    for name, data in {"empty": b"", "one": b"x", "binary": b"a\0b", "latin": b"caf\xe9 au lait"}.items():
        (tmp_path / name).write_bytes(data)
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    assert prepare(source, tmp_path / "out", *options) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
