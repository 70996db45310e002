"""Laws of the model of marks: its scores against a slow reference, shares that sum to one, files."""

import io
import random
from functools import cache
from hashlib import blake2b
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.decoding.mark_adapted import AdaptedMarks
from nhin.decoding.mark_bigram import MarkBigram
from nhin.decoding.mark_context import BLIND, TEMPLATES, MarkContext, load_bundled
from nhin.errors import CheckpointError
from nhin.text.letters import strip_marks
from nhin.text.unmarked import Slot

WORDS = tuple("má mà ma là lạ đi tôi tối tới".split())
BITS = 11
cases = st.sampled_from(["lower", "capital", "upper"])
slots = st.builds(
    lambda word, is_open, case: Slot(strip_marks(word) if is_open else word, is_open, case),
    st.sampled_from([*WORDS, "xin"]),
    st.booleans(),
    cases,
)
sentences = st.lists(st.lists(slots, max_size=5), max_size=4)


class SlowReference:
    """The formula of the docstring, slot by slot, in whole numbers of 64 bits."""

    whole = 2**64

    def __init__(self, model=None):
        self.model = model

    def name(self, word):
        return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")

    def see(self, kind, slot, marked, has_capital):
        if slot is None:
            return self.name("")
        if kind == "cases":
            return self.name(slot.case) if has_capital else 0
        return self.name(marked if kind == "marked" else strip_marks(slot.word))

    def find(self, sentence, marked, place, word, template):
        kind, offsets = TEMPLATES[template]
        has_capital = any(slot.case == "capital" for slot in sentence)
        value = (template + 1) * 0xD6E8FEB86659FD93 % self.whole
        for offset in offsets:
            at = place + offset
            inside = 0 <= at < len(sentence)
            slot, beside = (sentence[at], marked[at]) if inside else (None, "")
            value = (value ^ self.see(kind, slot, beside, has_capital)) * 0x9E3779B97F4A7C15 % self.whole
            value ^= value >> 32
        value = (value ^ self.name(word)) * 0xC2B2AE3D27D4EB4F % self.whole
        value = (value ^ value >> 29) * 0xD6E8FEB86659FD93 % self.whole
        return value >> (64 - BITS), (value >> (56 - BITS)) & 255

    def score(self, sentence, marked, place, word, count):
        total = float(self.model.bias[WORDS.index(word)])
        for template in range(count):
            cell, check = self.find(sentence, marked, place, word, template)
            if int(self.model.checks[cell]) == check:
                total += self.model.step * int(self.model.weights[cell])
        return total

    def ways(self, slot):
        return [word for word in WORDS if slot.is_open and strip_marks(word) == slot.word]

    def solve(self, sentence):
        marked = [slot.word for slot in sentence]
        shares = []
        for count in (BLIND, len(TEMPLATES)):
            shares = []
            for place, slot in enumerate(sentence):
                powers = {
                    word: exp(self.score(sentence, marked, place, word, count)) for word in self.ways(slot)
                }
                shares.append({word: power / sum(powers.values()) for word, power in powers.items()})
            marked = [
                max(share, key=share.get) if share else slot.word
                for share, slot in zip(shares, sentence, strict=True)
            ]
        return marked, shares


def draw_sentence(draw):
    words = [draw.choice(WORDS) for _ in range(draw.randint(1, 5))]
    return [
        Slot(strip_marks(word), True, draw.choice(["lower", "capital", "upper"])) for word in words
    ], words


def make_model(seed):
    """Return a model whose table has the entries of some random sentences."""
    draw, reference = random.Random(seed), SlowReference()
    checks, weights = np.zeros(2**BITS, np.uint8), np.zeros(2**BITS, np.int8)
    for _ in range(100):
        sentence, words = draw_sentence(draw)
        for place, word in enumerate(words):
            for template in range(len(TEMPLATES)):
                cell, check = reference.find(sentence, words, place, word, template)
                checks[cell], weights[cell] = check, draw.randint(-127, 127)
    bias = np.array([draw.gauss(0, 1) for _ in WORDS], np.float32)
    return MarkContext(WORDS, bias, checks, weights, 0.02)


seeds = st.integers(0, 3).map(cache(make_model))


@settings(max_examples=60)
@given(seeds, sentences)
def test_shares_are_those_of_the_slow_reference_and_the_likeliest_word_is_chosen(model, texts):
    chosen, listed = model.choose(texts), model.list_alternatives(texts)
    for sentence, words, rows in zip(texts, chosen, listed, strict=True):
        best, shares = SlowReference(model).solve(sentence)
        assert words == best
        for word, row, share in zip(words, rows, shares, strict=True):
            assert {one.word: one.confidence for one in row} == pytest.approx(share or {word: 1.0}, rel=1e-4)
            assert row[0].word == word
            assert sum(one.confidence for one in row) == pytest.approx(1.0, rel=1e-5)


@given(seeds, sentences)
def test_a_sentence_gets_the_same_words_alone_and_beside_others(model, texts):
    assert model.choose(texts) == [model.choose([sentence])[0] for sentence in texts]


@given(seeds, sentences)
def test_a_text_all_in_capitals_is_read_as_one_in_lower_case(model, texts):
    lower, upper = (
        [[slot._replace(case=case) for slot in row] for row in texts] for case in ("lower", "upper")
    )
    assert model.choose(lower) == model.choose(upper)


def test_marks_that_stand_beside_a_syllable_are_seen():
    pairs = [[Slot(first, False), Slot("toi", True)] for first in ("má", "mà")]
    assert any(len({row[1] for row in make_model(seed).choose(pairs)}) == 2 for seed in range(10))


@settings(max_examples=20)
@given(sentences)
def test_without_counts_an_adapted_model_is_the_model(texts):
    model = make_model(1)
    adapted = AdaptedMarks.adapt(model, MarkBigram.count([]))
    assert adapted.choose(texts) == model.choose(texts)
    for row, other in zip(adapted.list_alternatives(texts), model.list_alternatives(texts), strict=True):
        for ways, others in zip(row, other, strict=True):
            found = {one.word: one.confidence for one in others}
            assert {one.word: one.confidence for one in ways} == pytest.approx(found, abs=5e-3)


def test_pairs_of_the_text_go_before_the_model():
    model = make_model(1)
    for word in ("má", "mà", "ma", "mã"):
        adapted = AdaptedMarks.adapt(model, MarkBigram.count([["lạ", word]] * 1000))
        assert adapted.choose([[Slot("lạ", False), Slot("ma", True)]]) == [["lạ", word]]


def test_a_model_survives_a_file():
    model = make_model(3)
    again = MarkContext.from_bytes(model.to_bytes(), "it")
    assert again.words == model.words
    assert again.step == pytest.approx(model.step)
    for name in ("bias", "checks", "weights"):
        assert np.array_equal(getattr(again, name), getattr(model, name))


def save(array, allow_pickle=False):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=allow_pickle)
    return out.getvalue()


def changed(at, value):
    data = bytearray(np.load(io.BytesIO(make_model(0).to_bytes())).tobytes())
    data[at] = value
    return save(np.frombuffer(bytes(data), np.uint8))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        save(np.zeros(0, np.uint8)),
        save(np.zeros(99, np.uint8)),
        save(np.zeros(99, np.uint32)),
        save(np.array([{}], dtype=object), allow_pickle=True),
        changed(0, 9),  # the version
        changed(4, 6),  # the number of cells
        changed(7, 255),
        changed(8, 8),  # the number of words
        changed(12, 3),  # the length of their text
        changed(20 + 4 * len(WORDS), 255),  # a letter
        changed(19, 127),  # the size of a step: no number
        make_model(0).to_bytes()[:-1],
    ],
)
def test_a_foreign_file_is_refused(data):
    with pytest.raises(CheckpointError, match="model of marks"):
        MarkContext.from_bytes(data, "it")


def test_the_bundled_model_knows_everyday_words():
    sentence = [Slot(word, True) for word in "toi di hoc".split()]
    assert load_bundled().choose([sentence]) == [["tôi", "đi", "học"]]
