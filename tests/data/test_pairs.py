"""Laws of the pairs of sequences: rules that agree with the rules of numbers and dates, streams, texts."""

from datetime import date
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.data.pairs.batches import PairPosition, PairStream, TokenTable, encode_rows
from nhin.data.pairs.marks import BLOCK_LINES, MarkPairs, read_text, split_sentences, split_text, to_pair
from nhin.data.pairs.pair import NO_ORIGIN
from nhin.data.pairs.rules import RULES, NumberPairs
from nhin.errors import CheckpointError, DataError
from nhin.text.charset import EOS, SOS, UNK
from nhin.text.letters import strip_marks
from nhin.text.numbers import number_words, parse_number_words

seeds, lengths = st.integers(0, 2**32), st.integers(1, 20)
LINES = [f"câu số {number_words(i)} là thế" for i in range(20 * BLOCK_LINES)]


def draw(task, seed, length):
    return RULES[task]().draw(Random(seed), length)


@given(st.sampled_from(sorted(RULES)), seeds, lengths)
def test_a_pair_has_known_tokens_and_an_origin_for_each_token_of_its_target(task, seed, length):
    source, pair = RULES[task](), draw(task, seed, length)
    assert set(pair.source) <= set(source.source_tokens)
    assert set(pair.target) <= set(source.target_tokens)
    assert len(pair.origins) == len(pair.target) > 0
    assert set(pair.origins) <= {NO_ORIGIN, *range(len(pair.source))}


@given(seeds, lengths, st.sampled_from(["north", "south"]))
def test_the_words_of_a_number_are_those_of_number_words(seed, length, dialect):
    pair = NumberPairs(dialect).draw(Random(seed), length)
    text = "".join(pair.source)
    assert " ".join(pair.target) == number_words(text, dialect)
    assert sum(char.isdigit() for char in text.partition(",")[0]) == length


@given(seeds, lengths)
def test_a_number_word_comes_from_a_character_that_says_it(seed, length):
    pair = draw("numbers", seed, length)
    says = {"không": "0", "linh": "0", "mười": "1", "mốt": "1", "tư": "4", "lăm": "5", "âm": "-", "phẩy": ","}
    says |= {number_words(i): str(i) for i in range(10)}
    for word, origin in zip(pair.target, pair.origins, strict=True):
        assert pair.source[origin] == says.get(word, pair.source[origin])
        assert pair.source[origin] != "."


@given(seeds, lengths)
def test_number_words_turn_back_into_their_digits(seed, length):
    pair = draw("number-words", seed, length)
    digits = "".join(pair.target).replace(",", ".")
    assert str(parse_number_words(" ".join(pair.source))) == digits


@given(seeds)
def test_a_date_is_a_day_that_exists_and_ends_with_its_year(seed):
    pair = draw("dates", seed, 1)
    day = date.fromisoformat("".join(pair.target))
    assert "".join(pair.source).endswith(str(day.year))
    for char, origin in zip(pair.target[:4], pair.origins[:4], strict=True):
        assert pair.source[origin] == char


@given(seeds, lengths)
def test_symbols_are_copied_or_reversed(seed, length):
    for task, step in (("copy", 1), ("reverse", -1)):
        pair = draw(task, seed, length)
        assert pair.target == pair.source[::step] == tuple(pair.source[i] for i in pair.origins)


@given(seeds, st.integers(0, 5), st.integers(0, 5))
def test_a_stream_goes_on_from_anywhere_as_if_never_stopped(seed, start, more):
    stream = PairStream(RULES["copy"](), 2, (1, 4), seed)
    whole, part = (stream.iter_batches(PairPosition(at)) for at in (0, start))
    after = PairPosition(0)
    for _ in range(start):
        _, after = next(whole)
    assert after == PairPosition(start)
    for _ in range(more):
        assert next(part) == next(whole)


def test_rows_are_padded_and_carry_their_ends():
    table = TokenTable(("a", "b"))
    assert encode_rows(table, ["ab", "b", "x"]).tolist() == [[4, 5], [5, 0], [UNK, 0]]
    assert encode_rows(table, ["b"], ends=True).tolist() == [[SOS, 5, EOS]]
    assert table.decode([SOS, 5, UNK, 4, EOS, 4]) == ["b", "<UNK>", "a"]


@pytest.mark.parametrize("tokens", [("a", "a"), (1, 2)])
def test_a_table_with_other_than_different_texts_is_refused(tokens):
    with pytest.raises(CheckpointError):
        TokenTable(tokens)


def test_a_held_out_sentence_is_never_among_those_to_learn_from():
    train, held_out = split_text("\n".join(LINES + LINES[:BLOCK_LINES] * 10))
    assert held_out
    assert not set(held_out) & set(train)


def test_a_sentence_without_marks_aligns_word_by_word_with_itself():
    (sentence,) = split_sentences("Tôi đi học, còn bạn thì KHÔNG!")
    pair = to_pair(sentence)
    assert pair.source == ("toi", "di", "hoc", "con", "ban", "thi", "khong")
    assert tuple(map(strip_marks, pair.target)) == pair.source
    assert pair.origins == tuple(range(7))


def test_marks_are_drawn_from_the_sentences_to_learn_from_alone():
    pairs = MarkPairs("\n".join(LINES), max_words=4)
    draw = Random(0)
    drawn = {pairs.draw(draw, 1).target for _ in range(50)}
    assert drawn <= set(pairs.sentences)
    assert max(map(len, pairs.sentences)) <= 4


@pytest.mark.parametrize("data", [b"", b"12 34", b"\xff\xfea", None])
def test_a_text_without_words_is_refused(data, tmp_path):
    path = tmp_path / "text.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=r"text\.txt"):
        read_text(path)
