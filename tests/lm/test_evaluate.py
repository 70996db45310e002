"""Laws of measuring a language model: every token counts once, with what stands before it."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import TEXT, TINY, tiny_run

import nhin
from nhin.cli.app import main
from nhin.data.text.prepare import SplitConfig, open_tokens, prepare
from nhin.errors import DataError, Diverged, UsageError
from nhin.lm.eval_data import EncodedText, encode_file, list_data_folders, open_eval_split
from nhin.lm.evaluate import build_ngram_baseline, evaluate, iter_windows
from nhin.lm.loading import LMRun, NGramRun, open_any_run, open_run
from nhin.lm.ngram import count_ngrams
from nhin.lm.recipe import LMDataConfig, LMRecipe
from nhin.lm.train_ngram import train_ngram
from nhin.metrics.perplexity import FIGURES
from nhin.models.build import build_lm
from nhin.text.tokenizers import train_tokenizer
from nhin.training.checkpoint import load, save

LONG = "".join(f"{n} {TEXT}" for n in range(20))
SIZES = {"tokens", "characters", "bytes", "seconds"}


def text_of(ids):
    return EncodedText(np.array(ids, np.uint32))


def network(tokenizer, design=TINY, scale=3.0):
    """Build a model whose answers differ from token to token."""
    model = build_lm(tokenizer.vocab, design).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
    return LMRun(model, tokenizer, LMRecipe(model=design), 0)


@torch.inference_mode()
def slow(run, ids, before):
    """Predict every token by itself, after so many of those before it as ``before`` says."""
    total = 0.0
    for i in range(1, len(ids)):
        scores = run.model(torch.tensor([ids[i - before(i) : i]]))[0, -1].double()
        total -= float(scores.log_softmax(-1)[ids[i]])
    return total


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("char", lambda: [LONG])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """Prepare a text; return the folder of its tokens."""
    place = tmp_path_factory.mktemp("data")
    (place / "text.txt").write_text(LONG, encoding="utf-8")
    return prepare(str(place / "text.txt"), tokenizer, place / "tokens", SplitConfig(block=200))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a run over the same characters."""
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny", LONG)


@settings(max_examples=200)
@given(length=st.integers(2, 60), context=st.integers(1, 9), data=st.data())
def test_every_token_but_the_first_is_predicted_once(length, context, data):
    stride = data.draw(st.integers(1, context))
    predicted = []
    for window in iter_windows(length, context, stride):
        assert 0 <= window.start < window.stop < length
        assert 1 <= window.new_tokens <= window.stop - window.start <= context
        places = range(window.stop - window.new_tokens + 1, window.stop + 1)
        if window.start:
            assert window.stop - window.start - window.new_tokens >= context - stride
        predicted += places
    assert predicted == list(range(1, length))


@pytest.mark.parametrize("length", [2, 16, 17, 18, 60])
@pytest.mark.parametrize("batch", [None, 1, 2])
def test_windows_cost_what_each_token_costs_by_itself(tokenizer, length, batch):
    run, ids = network(tokenizer), tokenizer.encode(LONG)[:length]
    context = run.model.context
    measured = evaluate(run, text_of(ids), batch=batch)
    want = slow(run, ids, lambda i: (i - 1) % context + 1)
    assert measured.cost.total == pytest.approx(want, rel=1e-5)
    assert measured.cost.tokens == length - 1


@pytest.mark.parametrize("stride", [1, 5, 15])
def test_overlapping_windows_give_every_token_more_before_it(tokenizer, stride):
    run, ids = network(tokenizer), tokenizer.encode(LONG)[:60]
    context = run.model.context

    def before(i):
        if i <= context:
            return i
        return i - stride * math.ceil((i - context) / stride)

    measured = evaluate(run, text_of(ids), stride=stride)
    assert measured.cost.total == pytest.approx(slow(run, ids, before), rel=1e-5)


def test_who_knows_nothing_is_as_unsure_as_among_all(tokenizer):
    run = network(tokenizer, scale=0.0)
    figures = evaluate(run, text_of(tokenizer.encode(LONG)[:50])).cost.figures()
    assert figures["perplexity"] == pytest.approx(tokenizer.vocab)
    assert figures["nats"] == pytest.approx(math.log(tokenizer.vocab))


@pytest.mark.parametrize("spec", ["char", "byte", "bpe:300"])
def test_sizes_are_those_of_the_text_after_its_first_token(spec):
    words = "phở bò tái, 25.000đ một tô. 🍜 " * 12
    tokenizer = train_tokenizer(spec, lambda: [words])
    ids = tokenizer.encode(words)
    ids.insert(len(ids) // 2, tokenizer.eos_id)
    first = tokenizer.decode_bytes(ids[:1])
    cost = evaluate(network(tokenizer), text_of(ids)).cost
    assert cost.tokens == len(ids) - 1
    assert cost.bytes == len(words.encode()) - len(first)
    assert cost.characters == len(words) - len(first.decode())


def test_ngrams_know_all_before_a_token_however_the_text_is_read(tokenizer, monkeypatch):
    ids = tokenizer.encode(LONG)
    model = count_ngrams(ids[:400], tokenizer.vocab, 4)
    monkeypatch.setattr("nhin.lm.evaluate._CHUNK_TOKENS", 7)
    cost = evaluate(NGramRun(model, tokenizer, LMRecipe(), 0), text_of(ids)).cost
    assert cost.total == pytest.approx(model.nats(ids)[1:].sum())
    assert (cost.tokens, cost.characters, cost.bytes) == (len(ids) - 1,) * 3


def test_all_of_it_is_told_to_who_watches(tokenizer):
    seen = []
    evaluate(network(tokenizer), text_of(tokenizer.encode(LONG)[:50]), batch=1, on_progress=seen.append)
    assert sum(seen) == 49
    assert len(seen) > 2


@pytest.mark.parametrize(
    ("length", "options", "message", "error"),
    [
        (1, {}, "2 are needed", DataError),
        (0, {}, "2 are needed", DataError),
        (9, {"stride": 0}, "1 to 16", UsageError),
        (9, {"stride": 17}, "1 to 16", UsageError),
        (9, {"batch": 0}, "batch", UsageError),
    ],
)
def test_what_cannot_be_measured_is_refused(tokenizer, length, options, message, error):
    with pytest.raises(error, match=message):
        evaluate(network(tokenizer), text_of([1] * length), **options)


def test_answers_that_are_no_numbers_are_said(tokenizer):
    run = network(tokenizer)
    with torch.no_grad():
        run.model.embedding.weight[3] = math.nan
    with pytest.raises(Diverged, match="is not finite"):
        evaluate(run, text_of([3, 1, 2]))


def test_the_control_is_counted_on_the_training_split_alone(folder, tokenizer, monkeypatch):
    corpus = open_tokens(folder)
    counted, taken = build_ngram_baseline(corpus, 3)
    train = corpus.split("train").read(0, len(corpus.split("train")))
    want = count_ngrams(train, tokenizer.vocab, 3)
    assert taken == len(train)
    np.testing.assert_array_equal(counted.model.nats(train), want.nats(train))
    assert build_ngram_baseline(corpus)[0].model.order == 5
    monkeypatch.setattr("nhin.lm.train_ngram.MAX_BYTES", 32 * 3 * 50)
    assert build_ngram_baseline(corpus, 3)[1] == 50


def test_byte_pairs_are_controlled_by_shorter_grams(tmp_path):
    (tmp_path / "text.txt").write_text(LONG, encoding="utf-8")
    prepare(str(tmp_path / "text.txt"), "bpe:300", tmp_path / "tokens", SplitConfig(block=200))
    assert build_ngram_baseline(open_tokens(tmp_path / "tokens"))[0].model.order == 3


def test_a_file_costs_what_its_tokens_cost(tmp_path, tokenizer):
    (tmp_path / "text.txt").write_text(LONG, encoding="utf-8")
    held = open_eval_split(tmp_path / "text.txt", tokenizer)
    assert held.tokens.read(0, len(held.tokens)).tolist() == tokenizer.encode(LONG)
    assert held.corpus is None


def test_a_file_is_compared_with_what_the_run_was_trained_on(tmp_path, folder, tokenizer):
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    named = list_data_folders(tmp_path / "run", LMRecipe(data=LMDataConfig(path=str(folder))))
    assert open_eval_split(text, tokenizer, train_folders=named).corpus is not None
    assert open_eval_split(text, train_tokenizer("byte", lambda: []), train_folders=named).corpus is None
    assert (
        open_eval_split(text, tokenizer, train_folders=list_data_folders(tmp_path / "run", LMRecipe())).corpus
        is None
    )
    prepare(str(text), tokenizer, tmp_path / "run" / "data", SplitConfig(block=20))
    for place in (tmp_path / "run", tmp_path / "run" / "checkpoint"):
        found = open_eval_split(text, tokenizer, train_folders=list_data_folders(place, LMRecipe())).corpus
        assert found is not None
        assert found.folder.samefile(tmp_path / "run" / "data")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "2 are needed"), (b"c", "2 are needed"), (b"a\0b", "binary"), ("cơm".encode(), "ơ")],
)
def test_texts_that_cannot_be_measured_are_one_line(run, tmp_path, capsys, data, message):
    (tmp_path / "text.txt").write_bytes(data)
    assert main(["evaluate", str(run), str(tmp_path / "text.txt")]) == 3
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err


def test_a_text_too_large_is_not_read(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr("nhin.lm.eval_data.MAX_TEXT_BYTES", 3)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    with pytest.raises(DataError, match="nhin prepare"):
        encode_file(tmp_path / "text.txt", tokenizer)


def test_json_holds_every_key_for_both(run, folder, capsys):
    assert main(["evaluate", str(run), str(folder), "--json", "--split", "test", "--stride", "9"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert {*FIGURES, *SIZES, "ngram", "step", "data"} == tree.keys()
    assert {*FIGURES, *SIZES, "order", "counted"} == tree["ngram"].keys()
    assert tree["tokens"] == tree["ngram"]["tokens"] == len(open_tokens(folder).split("test")) - 1
    want = evaluate(open_run(run), open_tokens(folder).split("test"), stride=9)
    assert tree["nats"] == pytest.approx(want.cost.nats)
    assert tree["ngram"]["order"] == 5


def test_a_table_shows_the_ngram_beside_it(run, folder, capsys):
    assert main(["evaluate", str(run), str(folder)]) == 0
    shown = capsys.readouterr().out
    rows = {words[1]: words for line in shown.splitlines() if len(words := line.split()) > 5}
    want = evaluate(open_run(run), open_tokens(folder).split("validation")).cost
    beside = evaluate(
        build_ngram_baseline(open_tokens(folder))[0], open_tokens(folder).split("validation")
    ).cost
    assert f"{want.nats:.4f}" in rows["tiny"]
    assert f"{beside.bits_per_byte:.4f}" in rows["5-gram"]
    assert f"{want.tokens} tokens: validation of " in shown


def test_a_run_of_counts_is_measured_as_any(folder, tokenizer, tmp_path, capsys):
    corpus = open_tokens(folder)
    train_ngram(LMRecipe(ngram=5), corpus.split("train"), tokenizer, tmp_path / "run")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), str(folder), "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["nats"] == tree["ngram"]["nats"] < math.log(tokenizer.vocab) / 2
    with pytest.raises(UsageError, match="stride"):
        evaluate(open_any_run(tmp_path / "run"), corpus.split("test"), stride=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode", "fast"], "--mode is for a reader"),
        (["--limit", "3"], "--limit is for a reader"),
        (["--stride", "99"], "give 1 to 16"),
        (["--split", "tset"], "tset"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_options_that_make_no_sense_are_refused(run, folder, capsys, options, message):
    assert main(["evaluate", str(run), str(folder), *options]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err


def test_options_of_language_models_are_refused_for_readers(tmp_path, capsys):
    for option in (["--split", "test"], ["--stride", "3"]):
        assert main(["evaluate", "default", str(tmp_path), *option]) == 2
        assert "is for a language model" in capsys.readouterr().err


def test_a_split_of_a_single_file_is_refused(run, tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    assert main(["evaluate", str(run), str(tmp_path / "text.txt"), "--split", "test"]) == 2
    assert "without splits" in capsys.readouterr().err


def test_tokens_of_another_tokenizer_are_refused(run, tmp_path, capsys):
    (tmp_path / "text.txt").write_text(LONG, encoding="utf-8")
    prepare(str(tmp_path / "text.txt"), "byte", tmp_path / "tokens", SplitConfig(block=200))
    assert main(["evaluate", str(run), str(tmp_path / "tokens")]) == 3
    captured = capsys.readouterr().err
    assert "another tokenizer" in captured
    assert train_tokenizer("byte", lambda: []).fingerprint[:8] in captured


def test_a_folder_that_was_never_prepared_is_refused(run, tmp_path, capsys):
    assert main(["evaluate", str(run), str(tmp_path)]) == 3
    assert "nhin prepare" in capsys.readouterr().err
    assert main(["evaluate", str(run), str(tmp_path / "gone")]) == 3
    assert "no folder or file" in capsys.readouterr().err


def test_broken_weights_are_refused(run, folder, tmp_path, capsys):
    held = load(run / "checkpoint")
    weights = dict(held.tensors["model"])
    weights["embedding.weight"] = weights["embedding.weight"] * math.nan
    save(tmp_path / "run" / "checkpoint", type(held)({"model": weights}, held.values))
    assert main(["evaluate", str(tmp_path / "run"), str(folder)]) == 4
    assert "NaN" in capsys.readouterr().err


def test_a_run_is_told_from_a_reader_without_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from nhin.lm.run_dir import is_run; "
        "assert not is_run(Path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    home = {**os.environ, "PYTHONPATH": str(Path(nhin.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, env=home)
