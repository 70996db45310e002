"""``nhin sample``: a text that goes on, the same for the same seed, as it comes or whole."""

import io
import json
import os
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from runs import TEXT, TINY, tiny_run

from nhin.cli.app import main
from nhin.lm.loading import open_any_run, open_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.train_ngram import train_ngram
from nhin.ocr.recipe import OCRRecipe as ReaderRecipe
from nhin.text.tokenizers import train_tokenizer
from nhin.training.checkpoint import Checkpoint, load, save


class Held(list):
    """Tokens as a split gives them."""

    def read(self, start, stop):
        return np.array(self[start:stop])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("run"), steps=150)


def sample(capsys, *given):
    """Return what a command that goes well writes."""
    code = main(["sample", *map(str, given)])
    out = capsys.readouterr()
    assert (code, out.err) == (0, "")
    return out.out


def objects(capsys, *given):
    return [json.loads(line) for line in sample(capsys, *given, "--json").splitlines()]


class Pieces(io.StringIO):
    """A screen that remembers what stood on it whenever it was shown."""

    def __init__(self, terminal=False):
        super().__init__()
        self.shown, self.terminal = [], terminal

    def flush(self):
        self.shown.append(self.getvalue())

    def isatty(self):
        return self.terminal


def test_the_prompt_comes_first_and_the_text_follows(run, capsys):
    text = sample(capsys, run, "--prompt", "the cat", "--tokens", "20", "--seed", "3")
    assert text.startswith("the cat")
    assert text.endswith("\n")
    assert len(text) == len("the cat") + 20 + 1


def test_programs_are_told_what_people_see_and_how_to_have_it_again(run, capsys):
    given = (run, "--prompt", "a bird", "--tokens", "15")
    (result,) = objects(capsys, *given)
    assert set(result) == {"prompt", "text", "ids", "ended", "seed"}
    assert result["text"] == open_run(run).tokenizer.decode(result["ids"])
    again = sample(capsys, *given, "--seed", result["seed"])
    assert again == f"a bird{result['text']}\n"


def test_a_seed_is_a_text_and_none_is_another_each_time(run, capsys):
    given = (run, "--tokens", "30", "--temperature", "2")
    assert sample(capsys, *given, "--seed", "1") == sample(capsys, *given, "--seed", "1")
    assert len({sample(capsys, *given) for _ in range(3)}) == 3


def test_each_of_several_texts_is_that_of_its_own_seed(run, capsys):
    given = (run, "--prompt", "the", "--tokens", "12", "--seed")
    three = objects(capsys, *given, "5", "--count", "3")
    assert [result["seed"] for result in three] == [5, 6, 7]
    assert three == [objects(capsys, *given, seed)[0] for seed in (5, 6, 7)]
    shown = sample(capsys, *given, "5", "--count", "3")
    assert shown == "\n".join(f"==> seed {result['seed']} <==\nthe{result['text']}\n" for result in three)


def test_seeds_of_any_length_are_shown_whole_and_one_that_is_too_large_is_refused_first(run, capsys):
    given = (run, "--tokens", "2", "--count", "2", "--seed")
    shown = sample(capsys, *given, 2**64 - 2)
    assert [f"==> seed {seed} <==" in shown for seed in (2**64 - 2, 2**64 - 1)] == [True, True]
    assert main(["sample", *map(str, given), str(2**64 - 1)]) == 2
    assert capsys.readouterr() == ("", f"nhin: --seed {2**64 - 1} leaves 1 seeds for --count 2\n")


@pytest.mark.parametrize(
    "way",
    [
        ["--temperature", "0"],
        ["--temperature", "1e-9"],
        ["--top-k", "1"],
        ["--top-p", "1e-9"],
        ["--min-p", "1"],
        ["--beams", "1"],
    ],
)
def test_many_ways_are_greedy(way, run, capsys):
    given = (run, "--prompt", "the ", "--tokens", "25")
    assert sample(capsys, *given, *way) == sample(capsys, *given, "--temperature", "0")


def test_every_option_reaches_the_choice(run, capsys):
    given = (run, "--prompt", "the ", "--tokens", "25", "--seed", "2")
    texts = [
        sample(capsys, *given, *way)
        for way in (
            [],
            ["--temperature", "0"],
            ["--temperature", "3"],
            ["--temperature", "3", "--top-k", "3"],
            ["--temperature", "3", "--top-p", "0.5"],
            ["--temperature", "3", "--min-p", "0.3"],
            ["--repetition-penalty", "3"],
        )
    ]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("way", [["--seed", "4"], ["--beams", "3"]])
def test_without_the_cache_the_text_is_the_same(way, run, capsys, monkeypatch):
    """Also beyond the context, which is 16."""
    given = (run, "--prompt", "the cat", "--tokens", "30", *way)
    cached = sample(capsys, *given)
    monkeypatch.setattr("nhin.lm.generate.CachedDecoder", None)
    assert sample(capsys, *given, "--no-cache") == cached


def test_a_text_goes_on_from_standard_input_as_it_is(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the cat\n"), encoding="ascii"))
    assert sample(capsys, run, "--prompt", "-", "--tokens", "3", "--seed", "1").startswith("the cat\n")


def test_no_prompt_begins_where_texts_begin(run, capsys):
    """The end of one document is what the first token of the next was trained to follow."""
    opened = open_run(run)
    with torch.no_grad():
        want = opened.model(torch.tensor([[opened.tokenizer.eos_id]]))[0, -1].argmax().item()
    for given in ([], ["--prompt", ""]):
        assert objects(capsys, run, "--tokens", "1", "--temperature", "0", *given)[0]["ids"] == [want]


def test_the_end_of_a_text_ends_it_and_is_not_shown(tmp_path, capsys):
    run = tiny_run(tmp_path, design=replace(TINY, depth=0, tie_embeddings=False))
    held, end = load(run / "checkpoint"), open_run(run).tokenizer.eos_id
    weights = {name: torch.ones_like(x) for name, x in held.tensors["model"].items()}
    weights["head.weight"][end] *= 1.1  # 16 channels: about five times as likely as any other
    save(run / "checkpoint", Checkpoint({"model": weights}, held.values))
    given = (run, "--prompt", "the", "--tokens", "200")
    (result,) = objects(capsys, *given, "--temperature", "1", "--seed", "1")
    assert result["ended"]
    assert 0 < len(result["ids"]) < 200
    assert end not in result["ids"]
    assert sample(capsys, *given, "--temperature", "1", "--seed", "1") == f"the{result['text']}\n"
    for way in (["--temperature", "0"], ["--beams", "2"]):
        (result,) = objects(capsys, *given, *way)
        assert (result["text"], result["ids"], result["ended"]) == ("", [], True)
        assert sample(capsys, *given, *way) == "the\n"


def test_beams_give_the_best_first_with_their_scores(run, capsys):
    three = objects(capsys, run, "--prompt", "the", "--tokens", "8", "--beams", "5", "--count", "3")
    assert len(three) == 3
    assert [result["score"] for result in three] == sorted(
        (result["score"] for result in three), reverse=True
    )
    assert all(result["log_prob"] <= result["score"] < 0 for result in three)
    assert len({result["text"] for result in three}) == 3
    shown = sample(capsys, run, "--prompt", "the", "--tokens", "8", "--beams", "5")
    assert shown == f"the{three[0]['text']}\n"


def test_tokens_are_shown_as_they_come(run, monkeypatch):
    for given, terminal, lively in (
        (["--stream"], False, True),
        ([], True, True),
        ([], False, False),
        (["--no-stream"], True, False),
    ):
        screen = Pieces(terminal)
        monkeypatch.setattr(sys, "stdout", screen)
        assert main(["sample", str(run), "--prompt", "the", "--tokens", "6", "--seed", "1", *given]) == 0
        whole = screen.getvalue()
        assert [whole[:n] in screen.shown for n in range(3, 9)] == [lively] * 6
        assert whole in screen.shown


def test_only_whole_characters_are_shown(tmp_path, monkeypatch):
    text = "ảnh chữ, nhìn " * 9
    run = tiny_run(tmp_path, text, replace(TINY, context=32), tokenizer="byte", steps=60)
    screen = Pieces()
    monkeypatch.setattr(sys, "stdout", screen)
    given = ["--prompt", "ả", "--tokens", "40", "--stream", "--temperature", "0"]
    assert main(["sample", str(run), *given]) == 0
    whole = screen.getvalue()
    assert not whole.isascii()
    assert all(whole.startswith(shown) for shown in screen.shown)


def test_half_a_character_at_the_end_is_shown_as_one_that_is_none(tmp_path, capsys):
    run = tiny_run(tmp_path, "ả" * 30, tokenizer="byte", steps=80)
    given = (run, "--prompt", "ả", "--tokens", "4", "--temperature", "0")
    (result,) = objects(capsys, *given)
    assert result["text"] == "ả\ufffd"
    assert sample(capsys, *given) == "ảả\ufffd\n"


def test_as_many_processors_are_used_as_are_asked_for(run, capsys):
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            sample(capsys, run, "--tokens", "1", "--threads", threads)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_ctrl_c_keeps_what_was_written_and_ends_its_line(run, monkeypatch, capsys):
    import nhin.lm.generate as generating

    whole = sample(capsys, run, "--prompt", "the", "--tokens", "9", "--seed", "1")
    steps = iter(range(4))
    step = generating.CachedDecoder.step

    def interrupted(self, id):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(self, id)

    monkeypatch.setattr(generating.CachedDecoder, "step", interrupted)
    assert main(["sample", str(run), "--prompt", "the", "--tokens", "9", "--seed", "1"]) == 130
    out = capsys.readouterr()
    assert out.out == whole[: len("the") + 5] + "\n"
    assert out.err == "nhin: interrupted\n"


def test_places_may_leave_early_where_the_model_was_trained_to(run, tmp_path, capsys):
    early = tiny_run(tmp_path, design=replace(TINY, exits=True))
    held = load(early / "checkpoint")
    # Large weights in the last block: what it says has nothing to do with what the first one would.
    weights = {
        name: x + 3 * torch.randn_like(x) * name.startswith("blocks.1.")
        for name, x in held.tensors["model"].items()
    }
    save(early / "checkpoint", Checkpoint({"model": weights}, held.values))
    given = ("--prompt", "the", "--tokens", "25", "--temperature", "0")
    deep = sample(capsys, early, *given)
    assert sample(capsys, early, *given, "--confidence", "1") == deep
    assert sample(capsys, early, *given, "--confidence", "0") != deep
    assert main(["sample", str(run), "--confidence", "0.5"]) == 2
    assert "models trained with exits" in capsys.readouterr().err


def test_counted_n_grams_go_on_with_a_text(tmp_path, capsys):
    tokenizer = train_tokenizer("char", lambda: [TEXT])
    tokens = np.array(tokenizer.encode(TEXT * 3))
    run = tmp_path / "run"
    train_ngram(LMRecipe(ngram=5), Held(tokens), tokenizer, run)
    capsys.readouterr()
    given = (run, "--prompt", "a bird", "--tokens", "8")
    assert sample(capsys, *given, "--temperature", "0") == "a bird sang to\n"
    assert sample(capsys, *given, "--seed", "3") == sample(capsys, *given, "--seed", "3")
    assert sample(capsys, run, "--tokens", "3", "--no-cache", "--seed", "1")
    best, second = objects(capsys, *given, "--beams", "4", "--count", "2")
    model, prompt = open_any_run(run).model, tokenizer.encode("a bird")
    for beam in (best, second):
        want = -model.nats([*prompt, *beam["ids"]])[len(prompt) :].sum()
        assert beam["log_prob"] == pytest.approx(want)
    assert best["score"] >= second["score"]
    greedy = sample(capsys, *given, "--temperature", "0")
    assert sample(capsys, *given, "--beams", "1", "--no-cache") == greedy


WRONG = [
    (["--temperature", "nan"], "temperature is nan; give 0"),
    (["--temperature", "-1"], "temperature is -1"),
    (["--temperature", "inf"], "temperature is inf"),
    (["--temperature", "warm"], "temperature"),
    (["--top-k", "0"], "--top-k is 0; give 1 to"),
    (["--top-p", "0"], "--top-p is 0"),
    (["--top-p", "1.5"], "--top-p is 1.5"),
    (["--min-p", "-0.1"], "--min-p is -0.1"),
    (["--repetition-penalty", "0"], "--repetition-penalty is 0"),
    (["--seed", "-1"], "seed is -1"),
    (["--tokens", "0"], "--tokens is 0; give 1 to 10000000"),
    (["--tokens", "10000001"], "--tokens is 10000001"),
    (["--count", "0"], "--count is 0"),
    (["--threads", "0"], "--threads is 0"),
    (["--prompt", "the cat sat on the mat"], "the prompt is 22 tokens long and the model's context is 16"),
    (["--prompt", "thé"], "'é' (U+00E9) is not among"),
    (["--prompt", "a\udcff"], "(U+DCFF) is not among"),
    (["--beams", "0"], "--beams is 0; give 1 to"),
    (["--beams", "2", "--count", "3"], "--count is 3 and there are 2 beams"),
    (["--beams", "2", "--top-k", "3"], "leave out --top-k"),
    (["--beams", "2", "--seed", "3"], "leave out --seed"),
    (["--beams", "2", "--stream"], "leave out --stream"),
    (["--json", "--stream"], "leave out --stream"),
    (["--tempreature", "1"], "--tempreature"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[" ".join(map(ascii, given)) for given, _ in WRONG])
def test_wrong_words_are_one_line(given, message, run, capsys):
    assert main(["sample", str(run), *given]) == 2
    out = capsys.readouterr()
    assert (out.out, out.err.count("\n")) == ("", 1)
    assert message in out.err


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\xff\xfe", "not UTF-8: byte 0"), (b"a" * (2**24 + 1), "longer than 16777216 bytes")],
)
def test_standard_input_that_is_no_prompt_is_one_line(data, message, run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["sample", str(run), "--prompt", "-"]) == 2
    out = capsys.readouterr()
    assert (out.out, out.err.count("\n")) == ("", 1)
    assert message in out.err


def reader_run(folder):
    values = {"recipe": asdict(ReaderRecipe()), "trainer": {"step": 1}}
    save(folder / "checkpoint", Checkpoint({"model": {"a": torch.zeros(1)}}, values))


def broken_run(folder):
    held = load(tiny_run(folder) / "checkpoint")
    weights = {name: torch.full_like(x, float("nan")) for name, x in held.tensors["model"].items()}
    save(folder / "checkpoint", Checkpoint({"model": weights}, held.values))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "there is no checkpoint in"),
        (reader_run, "is not a language model"),
        (broken_run, "NaN"),
    ],
    ids=["nothing", "reader", "broken"],
)
def test_what_is_no_language_model_is_one_line(make, message, tmp_path, capsys):
    make(tmp_path / "run")
    assert main(["sample", str(tmp_path / "run")]) == 4
    out = capsys.readouterr()
    assert (out.out, out.err.count("\n")) == ("", 1)
    assert message in out.err


def test_a_text_that_grows_too_large_for_its_numbers_ends_in_one_line(tmp_path, capsys):
    run = tiny_run(tmp_path)
    held = load(run / "checkpoint")
    weights = {name: x + 3e38 * (name == "norm.weight") for name, x in held.tensors["model"].items()}
    weights["embedding.weight"] = weights["embedding.weight"] * 100
    save(run / "checkpoint", Checkpoint({"model": weights}, held.values))
    assert main(["sample", str(run), "--prompt", "the"]) == 5
    out = capsys.readouterr()
    assert out.err == (
        "nhin: the model gives NaN or infinite logits; its weights are broken, or too large for "
        "its dtype: take an earlier checkpoint\n"
    )


def test_a_reader_that_went_away_is_no_error(run, capsys, monkeypatch):
    class Gone(Pieces):
        def write(self, words):
            raise BrokenPipeError

        def fileno(self):
            return number

    number = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(sys, "stdout", Gone())
    assert main(["sample", str(run), "--prompt", "the"]) == 141
    assert capsys.readouterr().err == ""
    os.close(number)


def test_the_text_the_tests_go_on_from_is_learned(run, capsys):
    """Else they would pass on a model that says anything."""
    text = objects(capsys, run, "--prompt", "the cat sat", "--tokens", "30", "--temperature", "0")[0]["text"]
    assert sum(word in TEXT.split() for word in text.split()) >= 2
