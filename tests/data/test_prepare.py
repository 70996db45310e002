"""Shards decode to the text, are the same bytes every time, complete or not there, and are checked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nhin.data.text.prepare as module
from nhin.data.text.prepare import open_source, prepare
from nhin.data.text.sampler import read_windows
from nhin.data.text.sources import CorpusSource
from nhin.data.text.splits import SplitConfig
from nhin.data.text.token_dataset import Corpus, open_tokens
from nhin.errors import DataError, UnknownName, UsageError
from nhin.text.tokenizers import train_tokenizer

TEXT = "".join(f"dòng thứ {i}: nghiêng mình 👩‍👩‍👧\r\n" for i in range(300))
SPLITS = ("train", "validation", "test")


def source(*documents: str) -> CorpusSource:
    """One text is a single file, several are documents; all in small pieces."""
    pieces = [[text[i : i + 50] for i in range(0, len(text), 50)] for text in documents]
    return CorpusSource("texts", lambda: map(iter, pieces), single=len(documents) == 1)


def read_split(corpus: Corpus, name: str = "train") -> np.ndarray:
    split = corpus.split(name)
    return split.read(0, len(split))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe:300"])
def test_every_split_gives_back_its_text(tmp_path, tokenizer):
    corpus = open_tokens(prepare(source(TEXT), tokenizer, tmp_path / "out", SplitConfig("tail", 0.2, 0.1)))
    texts = [corpus.tokenizer.decode(read_split(corpus, name)) for name in SPLITS]
    assert "".join(texts) == TEXT
    assert [len(text) for text in texts] == [corpus.split(name).characters for name in SPLITS]
    assert [len(text.encode()) for text in texts] == [corpus.split(name).bytes for name in SPLITS]
    assert len(texts[0]) == int(0.7 * len(TEXT))


def test_characters_and_bytes_of_one_file_are_counted_one_to_one(tmp_path):
    for tokenizer, count in (("char", "characters"), ("byte", "bytes")):
        corpus = open_tokens(prepare(source(TEXT), tokenizer, tmp_path / tokenizer))
        for split in corpus.splits.values():
            assert len(split) == getattr(split, count) > 0


def test_every_document_has_an_end_and_a_single_file_has_none(tmp_path):
    config = SplitConfig("tail", 0.25, 0.0)
    corpus = open_tokens(prepare(source("ab", "", "cde", "fgh"), "char", tmp_path / "several", config))
    end = corpus.tokenizer.eos_id
    assert read_split(corpus).tolist() == [0, 1, end, 2, 3, 4, end, 5]
    assert read_split(corpus, "validation").tolist() == [6, 7, end]
    assert corpus.manifest.source.documents == 3
    corpus = open_tokens(prepare(source("abcdefgh"), "char", tmp_path / "one", config))
    assert read_split(corpus).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> Corpus:
    """A text of numbers in many small files."""
    text = "".join(map(chr, range(0x100, 0x100 + 997)))
    config = SplitConfig(validation=0.0, test=0.0, shard_tokens=10)
    return open_tokens(prepare(source(text), "char", tmp_path_factory.mktemp("shards") / "out", config))


def test_shards_are_as_long_as_asked(sharded):
    assert [shard.tokens for shard in sharded.manifest.splits.train.shards] == [10] * 99 + [7]


@given(start=st.integers(0, 997), more=st.integers(0, 60))
def test_reading_runs_across_shards(sharded, start, more):
    stop = min(997, start + more)
    tokens = sharded.split("train").read(start, stop)
    assert tokens.dtype == np.int64
    np.testing.assert_array_equal(tokens, np.arange(start, stop))


def test_windows_are_read_where_they_start(sharded):
    rows = read_windows(sharded.split("train"), np.array([0, 985, 8]), 11)
    np.testing.assert_array_equal(rows, np.array([[0], [985], [8]]) + np.arange(12))


def test_only_some_shards_are_held_open(sharded):
    split = sharded.split("train")
    for start in range(0, 990, 10):
        split.read(start, start + 1)
    assert len(split._open_shards) <= 64


@pytest.mark.parametrize(("count", "dtype"), [(2**16 - 1, "uint16"), (2**16, "uint32")])
def test_numbers_are_as_wide_as_the_vocabulary_needs(tmp_path, count, dtype):
    chars = [chr(i) for i in range(count + 2**11) if not 0xD800 <= i < 0xE000]
    corpus = open_tokens(
        prepare(source("".join(chars)), "char", tmp_path / "out", SplitConfig("tail", 0.1, 0.0))
    )
    assert (corpus.tokenizer.vocab, corpus.manifest.dtype) == (count + 1, dtype)
    assert read_split(corpus, "validation")[-1] == count - 1


def test_byte_pairs_are_learned_from_the_training_split_and_characters_from_all(tmp_path):
    text = "ab" * 450 + "xy" * 50
    corpus = open_tokens(prepare(source(text), "bpe:400", tmp_path / "bpe", SplitConfig("tail", 0.1, 0.0)))
    learned = b"".join(corpus.tokenizer.pieces[256:])
    assert b"ab" in learned
    assert b"x" not in learned
    corpus = open_tokens(prepare(source(text), "char", tmp_path / "char", SplitConfig("tail", 0.1, 0.0)))
    assert corpus.tokenizer.vocab == 5


def test_of_a_huge_text_byte_pairs_are_learned_from_blocks_all_over_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEARN_CHARACTERS", 200)
    read = []
    monkeypatch.setattr(
        module, "train_tokenizer", lambda spec, texts: read.extend(texts()) or train_tokenizer("byte", texts)
    )
    text = "".join(f"{i:09d}\n" for i in range(100))
    prepare(source(text), "bpe:300", tmp_path / "out", SplitConfig("blocks", 0.0, 0.0, block=20))
    starts = [int(text[:9]) for text in read]
    assert sum(map(len, read)) == 200
    assert starts == sorted(starts)
    assert np.diff(starts).max() <= 12


def test_a_given_tokenizer_is_used_and_must_know_the_text(tmp_path):
    mine = train_tokenizer("char", lambda: [TEXT, "z"])
    corpus = open_tokens(prepare(source(TEXT), mine, tmp_path / "out"))
    assert corpus.tokenizer.fingerprint == mine.fingerprint
    with pytest.raises(UsageError, match="'ß'"):
        prepare(source(TEXT + "ß"), mine, tmp_path / "more")
    assert not list(tmp_path.glob(".*"))


def test_the_same_text_gives_the_same_bytes_in_any_process(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text(TEXT, encoding="utf-8", newline="")
    prepare(open_source(str(text)), "bpe:300", tmp_path / "here")
    other = str(tmp_path / "other")
    code = f"from nhin.data.text.prepare import prepare; prepare({str(text)!r}, 'bpe:300', {other!r})"
    env = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[3]), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert files(tmp_path / "here") == files(tmp_path / "other")
    assert set(files(tmp_path / "here")) == {
        "manifest.json",
        "vocabulary.json",
        *(f"{name}-00000.npy" for name in SPLITS),
    }


def test_an_existing_preparation_is_kept(tmp_path, monkeypatch):
    out = prepare(source(TEXT), "char", tmp_path / "out")
    monkeypatch.setattr(module, "_write_dataset", None)
    assert prepare(source(TEXT), "char", out) == out


@pytest.mark.parametrize(
    ("text", "tokenizer", "config"),
    [(TEXT + "!", "char", SplitConfig()), (TEXT, "byte", SplitConfig()), (TEXT, "char", SplitConfig(seed=1))],
    ids=["text", "tokenizer", "settings"],
)
def test_another_preparation_is_never_overwritten(tmp_path, text, tokenizer, config):
    out = prepare(source(TEXT), "char", tmp_path / "out")
    before = files(out)
    with pytest.raises(UsageError, match="choose another folder"):
        prepare(source(text), tokenizer, out, config)
    assert files(out) == before


def test_a_folder_of_others_and_a_file_are_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thơ.txt").write_text("của tôi")
    (tmp_path / "file").write_text("của tôi")
    for name in ("out", "file"):
        with pytest.raises(UsageError, match="choose another folder"):
            prepare(source(TEXT), "char", tmp_path / name)
    assert set(files(tmp_path / "out")) == {"thơ.txt"}


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert len(read_split(open_tokens(prepare(source(TEXT), "char", tmp_path / "out"))))


def test_a_folder_inside_the_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    with pytest.raises(UsageError, match="outside"):
        prepare(str(tmp_path), "char", tmp_path / "deep" / "out")


def test_interrupted_anywhere_nothing_is_left_and_the_same_command_does_it(tmp_path):
    whole = files(prepare(source(TEXT), "bpe:300", tmp_path / "whole"))
    for stage in ("reading", "learning", "encoding"):

        def on_progress(doing, done, total, stage=stage):
            if doing == stage and done > len(TEXT) // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare(source(TEXT), "bpe:300", tmp_path / "out", on_progress=on_progress)
        assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    # A killed process leaves the files it had written.
    (tmp_path / ".out.new" / "deep").mkdir(parents=True)
    (tmp_path / ".out.new" / "train-00007.npy").write_bytes(b"half")
    assert files(prepare(source(TEXT), "bpe:300", tmp_path / "out")) == whole


def test_two_processes_cannot_prepare_one_folder(tmp_path):
    def on_progress(doing, done, total):
        with pytest.raises(UsageError, match="another process"):
            prepare(source(TEXT), "char", tmp_path / "out")

    pytest.importorskip("fcntl")
    assert open_tokens(prepare(source(TEXT), "char", tmp_path / "out", on_progress=on_progress))


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*out: File too large"):
            prepare(source(TEXT), "byte", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())


def test_a_text_that_changes_meanwhile_is_refused(tmp_path):
    calls = []

    def documents():
        calls.append(1)
        return iter([iter([TEXT, "!" * len(calls)])])

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(CorpusSource("texts", documents, single=True), "byte", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_remote_text_is_downloaded_once(tmp_path):
    calls = []

    def documents():
        calls.append(1)
        return iter([iter([TEXT]), iter(["more"])])

    remote = CorpusSource("hf:ai/thơ", documents, remote=True)
    out = prepare(remote, "bpe:300", tmp_path / "out")
    assert prepare(remote, "bpe:300", out) == out
    assert len(calls) == 1
    assert open_tokens(out).tokenizer.decode(read_split(open_tokens(out)))
    assert "documents.jsonl" not in files(out)


def test_a_split_that_was_not_asked_for_is_not_there(tmp_path):
    corpus = open_tokens(prepare(source(TEXT), "char", tmp_path / "out", SplitConfig(test=0.0)))
    with pytest.raises(UnknownName, match="known: train, validation"):
        corpus.split("test")


def test_a_folder_without_tokens_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nhin prepare makes them"):
        open_tokens(tmp_path)


@pytest.fixture
def out(tmp_path) -> Path:
    return prepare(source(TEXT), "char", tmp_path / "out", SplitConfig(test=0.0, shard_tokens=1000))


def test_torn_shards_are_refused_before_they_are_mapped(out):
    shard = out / "train-00001.npy"
    data = shard.read_bytes()
    header = data.replace(b"(1000,)", b"(9000,)")
    fortran = data.replace(b"False", b"True ")
    wide = data.replace(b"<u2", b"|O8")
    for torn in (data[:-1], data + b"\0", data[:50], b"", header, fortran, wide, data[1:] + b"\0"):
        shard.write_bytes(torn)
        with pytest.raises(DataError, match="torn: it is not 1000 tokens of uint16"):
            open_tokens(out)
    shard.unlink()
    with pytest.raises(DataError, match="cannot read"):
        open_tokens(out)


def test_a_token_outside_the_vocabulary_is_refused_when_it_is_read(out):
    shard = out / "train-00000.npy"
    data = shard.read_bytes()
    shard.write_bytes(data[:-2] + b"\xff\xff")
    corpus = open_tokens(out)
    assert len(corpus.split("train").read(0, 999)) == 999
    with pytest.raises(DataError, match="holds the token 65535"):
        corpus.split("train").read(990, 1010)
    assert not corpus.is_intact()


def test_a_shard_that_changed_is_not_taken_for_whole(out):
    shard = out / "train-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-2] + b"\0\0")
    with pytest.raises(UsageError, match="a shard has changed"):
        prepare(source(TEXT), "char", out, SplitConfig(test=0.0, shard_tokens=1000))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 3},
        {"format": "1"},
        {"dtype": "object"},
        {"dtype": "uint32"},
        {"vocab": 5},
        {"vocab": 2**40},
        {"tokenizer": "0" * 64},
        {"splits": {}},
        {"splits": {"train": {"tokens": 1, "characters": 1, "bytes": 1, "shards": []}}},
        {"more": 1},
        {"splits.train.tokens": 5},
        {"splits.train.bytes": -1},
        {"splits.train.shards.0.name": "../out/train-00000.npy"},
        {"splits.train.shards.0.name": "validation-00000.npy"},
        {"splits.train.shards.0.tokens": True},
        {"splits.train.shards.0.tokens": 10**15},
        {"splits.train.shards.0.tokens": -5},
    ],
    ids=str,
)
def test_a_manifest_that_is_wrong_is_refused(out, change):
    path = out / "manifest.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    for key, value in change.items():
        *parents, last = [int(name) if name.isdigit() else name for name in key.split(".")]
        inner = tree
        for name in parents:
            inner = inner[name]
        inner[last] = value
    path.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(DataError):
        open_tokens(out)


@pytest.mark.parametrize("name", ["manifest.json", "vocabulary.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"null", b"[" * 100_000], ids=range(6))
def test_json_that_is_torn_is_refused(out, name, data):
    (out / name).write_bytes(data)
    with pytest.raises(DataError):
        open_tokens(out)


def test_the_tokenizer_of_another_text_is_refused(out, tmp_path):
    other = prepare(source("abc" * 200), "char", tmp_path / "other")
    shutil.copy(other / "vocabulary.json", out)
    with pytest.raises(DataError, match="not what made these tokens"):
        open_tokens(out)
