"""Laws of runs that count: kept whole, opened as any run, refused where a network is needed."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from nhin.decoding.sampling import SamplingParams
from nhin.errors import CheckpointError, DataError, ShapeError, UsageError
from nhin.lm.generate import generate
from nhin.lm.loading import open_any_run, open_run
from nhin.lm.ngram import NGram, NGramScorer, count_ngrams
from nhin.lm.recipe import LMRecipe
from nhin.lm.run_dir import is_run
from nhin.lm.train_ngram import train_ngram
from nhin.text.tokenizers import train_tokenizer
from nhin.training.checkpoint import load, save
from nhin.training.distributed import ProcessGroup

TEXT = "the cat sat on the mat. a bird sang to the cat, and the cat sat still.\n" * 3


class Held:
    """Tokens in memory."""

    def __init__(self, tokens) -> None:
        self.tokens = np.array(tokens, np.int64)

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, start, stop):
        return self.tokens[start:stop]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("char", lambda: [TEXT])


def train(tokenizer, out, order=3, **settings):
    return train_ngram(LMRecipe(ngram=order), Held(tokenizer.encode(TEXT)), tokenizer, out, **settings)


def test_what_was_counted_is_opened_as_it_was(tokenizer, tmp_path):
    place = train(tokenizer, tmp_path / "run")
    run = open_any_run(tmp_path / "run")
    ids = tokenizer.encode(TEXT)
    assert isinstance(run.model, NGram)
    assert is_run(tmp_path / "run")
    assert place == tmp_path / "run" / "checkpoint"
    np.testing.assert_array_equal(run.model.nats(ids), count_ngrams(ids, tokenizer.vocab, 3).nats(ids))
    assert run.tokenizer.fingerprint == tokenizer.fingerprint
    assert (run.recipe.ngram, run.step) == (3, 0)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text("utf-8"))["ngram"] == 3
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text("utf-8"))["tokens"] == len(ids)


def test_where_a_network_is_needed_counts_are_refused(tokenizer, tmp_path):
    train(tokenizer, tmp_path)
    with pytest.raises(UsageError, match="network"):
        open_run(tmp_path)


def test_a_run_is_not_counted_over(tokenizer, tmp_path):
    train(tokenizer, tmp_path, 3)
    with pytest.raises(UsageError, match="already holds a run"):
        train(tokenizer, tmp_path, 2)
    train(tokenizer, tmp_path, 3, resume=True)
    with pytest.raises(CheckpointError, match="ngram was 3, is now 2"):
        train(tokenizer, tmp_path, 2, resume=True)
    assert open_any_run(tmp_path).model.order == 3


def test_of_several_processes_the_first_counts_and_the_others_wait(tokenizer, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(ProcessGroup, "barrier", lambda group: group.world > 1 and waited.append(group.rank))
    for rank in (1, 0):
        group = nullcontext(ProcessGroup(rank, 2))
        monkeypatch.setattr("nhin.lm.train_ngram.join_process_group", lambda group=group: group)
        assert train(tokenizer, tmp_path / "run") == tmp_path / "run" / "checkpoint"
        assert (tmp_path / "run").exists() == (rank == 0)
    assert waited == [1, 0]


def test_counts_of_another_text_are_not_taken_for_those_of_this(tokenizer, tmp_path):
    train(tokenizer, tmp_path, data={"train": "a"})
    train(tokenizer, tmp_path, data={"train": "a"}, resume=True)
    with pytest.raises(CheckpointError, match="trained on other data: train"):
        train(tokenizer, tmp_path, data={"train": "b"}, resume=True)


def test_more_than_memory_holds_is_refused_before_it_is_read(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("nhin.lm.train_ngram.MAX_BYTES", 32 * 3 * 100)
    monkeypatch.setattr(Held, "read", lambda self, start, stop: pytest.fail("it was read"))
    with pytest.raises(DataError, match="give 100 at most"):
        train(tokenizer, tmp_path / "run", 3)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("order", [9, -1])
def test_orders_that_cannot_be_are_refused(tokenizer, tmp_path, order):
    with pytest.raises(ShapeError, match="order"):
        train(tokenizer, tmp_path, order)


def test_tables_of_another_tokenizer_are_refused(tokenizer, tmp_path):
    """Fewer characters: the last of them were counted, and are not there any more."""
    place = train(tokenizer, tmp_path)
    held = load(place)
    held.values["tokenizer"]["chars"] = held.values["tokenizer"]["chars"][:4]
    save(place, held)
    with pytest.raises(CheckpointError, match="n-grams"):
        open_any_run(tmp_path)


def test_a_network_is_no_table(tokenizer, tmp_path):
    place = train(tokenizer, tmp_path)
    held = load(place)
    save(place, type(held)({"model": {"embedding.weight": torch.zeros(3, 3)}}, held.values))
    with pytest.raises(CheckpointError, match="n-grams"):
        open_any_run(tmp_path)


def test_a_text_goes_on_by_the_chances_of_its_end(tokenizer):
    """However it was read: at once, token by token, or after something else."""
    ids = tokenizer.encode(TEXT)
    model = count_ngrams(ids, tokenizer.vocab, 4)
    one, other = NGramScorer(model), NGramScorer(model)
    other.start(ids[5:9])
    scores = other.start(ids[:1])
    for length in range(1, 30):
        want = np.log(model.next_token_probs(ids[:length]))
        np.testing.assert_array_equal(one.start(ids[:length]), want)
        np.testing.assert_array_equal(scores, want)
        scores = other.step(ids[length])
    np.testing.assert_array_equal(one.start([]), np.log(model.next_token_probs([])))


def test_counts_write_texts_as_networks_do(tokenizer):
    model = count_ngrams(tokenizer.encode(TEXT), tokenizer.vocab, 5)
    greedy = SamplingParams(temperature=0)
    written = list(generate(NGramScorer(model), tokenizer.encode("the c"), tokens=8, sampling=greedy))
    assert tokenizer.decode(written)[:6] == "at sat"
    assert len(written) == 8
