"""Sure lines are read once, by the small network; those in doubt again, by the large one."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from nhin.reading.cascade import MAX_DOUBTFUL, CascadeRecognizer
from nhin.reading.result import Recognition, Span


class ListedRecognizer:
    """Gives each crop, known by its width, the confidence of a list; records what it reads."""

    def __init__(self, name: str, confidences: dict[int, float]) -> None:
        self.name, self.confidences, self.widths = name, confidences, list[int]()

    def read(self, crops: Sequence[np.ndarray]) -> list[Recognition]:
        self.widths += [crop.shape[1] for crop in crops]
        return [Recognition(self.name, self.confidences[crop.shape[1]]) for crop in crops]


def test_the_large_network_reads_what_is_in_doubt_and_nothing_else():
    small = ListedRecognizer("small", {9: 0.6, 10: 0.2, 11: 0.0})
    large = ListedRecognizer("large", {10: 0.1, 11: 0.6})
    cascade = CascadeRecognizer(small.read, large.read)
    crops = [np.zeros((8, width, 3), np.uint8) for width in (9, 10, 11)]
    assert cascade.read(crops[:1])[0].text == "small"
    assert [result.text for result in cascade.read(crops)] == ["small", "large", "large"]
    assert (small.widths, large.widths) == ([9, 9, 10, 11], [10, 11])
    assert cascade.read([]) == []


def spell(text: str, doubtful: Sequence[int] = (), width: float = 10.0) -> Recognition:
    """Return a text, each character so wide, the letters at some places in doubt."""
    chars = [
        Span(char, 0.3 if i in doubtful else 0.99, i * width, (i + 1) * width) for i, char in enumerate(text)
    ]
    return Recognition(text, math.prod(char.confidence for char in chars), tuple(chars))


class WordReader:
    """Reads every crop as the same text; records where in ``line`` each crop begins, and its width."""

    def __init__(self, line: np.ndarray, answer: Recognition) -> None:
        self.line, self.answer, self.seen = line, answer, list[tuple[int, int]]()

    def read(self, crops: Sequence[np.ndarray]) -> list[Recognition]:
        self.seen += [(int(crop[0, 0, 0]), crop.shape[1]) for crop in crops]
        return [self.answer for _ in crops]


def number_columns(width: int) -> np.ndarray:
    return np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (8, width, 3)).copy()


def test_of_a_line_only_the_words_in_doubt_are_read_again():
    crop, first = number_columns(150), spell("mot hai ba bon", doubtful=(1, 8))
    words = WordReader(crop, spell("xyz", width=5))
    whole = ListedRecognizer("whole", {})
    result = CascadeRecognizer(lambda crops: [first], whole.read, words.read).read([crop])[0]
    assert result.text == "xyz hai xyz bon"
    assert sorted(words.seen) == [(0, 35), (75, 30)]
    assert not whole.widths
    places = [(char.left, char.right) for char in result.chars if char.text in "xyz"]
    assert places == [(0, 5), (5, 10), (10, 15), (75, 80), (80, 85), (85, 90)]
    sure = [char for char in result.chars if char.text not in "xyz"]
    assert sure == [char for i, char in enumerate(first.chars) if i not in (0, 1, 2, 8, 9)]
    assert result.confidence == pytest.approx(math.prod(char.confidence for char in result.chars))


def test_neighbors_in_doubt_are_read_again_together_and_most_of_a_line_whole():
    crop = number_columns(150)
    for doubtful, seen, whole_seen in (((8, 12), [(75, 75)], []), ((0, 5, 8), [], [150])):
        words, whole = WordReader(crop, spell("xyz")), ListedRecognizer("whole", {150: 0.9})
        first = spell("mot hai ba bon", doubtful)
        CascadeRecognizer(lambda crops, first=first: [first], whole.read, words.read).read([crop])
        assert words.seen == seen
        assert whole.widths == whole_seen


def test_a_word_that_seems_blank_alone_stays_as_it_was():
    crop, first = number_columns(150), spell("mot hai ba bon", doubtful=(1,))
    words = WordReader(crop, Recognition("", 0.0))
    result = CascadeRecognizer(lambda crops: [first], words.read, words.read).read([crop])[0]
    assert result == first


def test_of_very_many_doubtful_lines_the_longest_are_read_again():
    texts = ["abcd", *["abcdefgh"] * MAX_DOUBTFUL, "abcd"]
    large = ListedRecognizer("large", {9: 0.6})
    cascade = CascadeRecognizer(lambda crops: [Recognition(text, 0.1) for text in texts], large.read)
    again = [result.text for result in cascade.read([np.zeros((8, 9, 3), np.uint8)] * len(texts))]
    assert again == ["abcd", *["large"] * MAX_DOUBTFUL, "abcd"]


def test_a_letter_or_two_must_be_surer_than_a_line():
    short, line = ListedRecognizer("ab", {9: 0.8, 10: 0.95}), ListedRecognizer("abcd", {9: 0.8})
    large = ListedRecognizer("large", {9: 0.1})
    crops = [np.zeros((8, width, 3), np.uint8) for width in (9, 10)]
    cascade = CascadeRecognizer(short.read, large.read)
    assert [result.text for result in cascade.read(crops)] == ["large", "ab"]
    assert CascadeRecognizer(line.read, large.read).read(crops[:1])[0].text == "abcd"


def test_a_word_read_alone_keeps_the_case_and_the_punctuation_that_its_line_has():
    crop, first = number_columns(150), spell("mot co, ba bon", doubtful=(5,))
    for alone, merged in (("CÓ;", "có,"), ("co:", "co,"), ("cá,", "cá,"), ("CÚ", "CÚ")):
        words = WordReader(crop, spell(alone, width=5))
        cascade = CascadeRecognizer(lambda crops: [first], words.read, words.read)
        assert cascade.read([crop])[0].text == f"mot {merged} ba bon"


def test_a_doubtful_dash_between_words_is_not_read_alone():
    crop, first = number_columns(150), spell("mot – ba bon nam", doubtful=(4,))
    first = Recognition(first.text, 0.3, first.chars)
    words = WordReader(crop, spell("-"))
    assert CascadeRecognizer(lambda crops: [first], words.read, words.read).read([crop])[0] == first
    assert not words.seen


def test_other_marks_of_a_letter_have_the_case_that_its_line_has(monkeypatch):
    monkeypatch.setattr("nhin.reading.cascade.settle_marks", list)
    crop, first = number_columns(150), spell("mot co, ba bon", doubtful=(5,))
    chars = [Span(char, 0.7, i, i + 1, (("Ò", 0.9),) if char == "Ó" else ()) for i, char in enumerate("CÓ,")]
    words = WordReader(crop, Recognition("CÓ,", 0.3, tuple(chars)))
    (result,) = CascadeRecognizer(lambda crops: [first], words.read, words.read).read([crop])
    assert [char.others for char in result.chars if char.others] == [(("ò", 0.9),)]
    assert result.text == "mot có, ba bon"


def test_what_shows_through_the_paper_and_tells_hardly_anything_is_not_read_again():
    strong, faint = (np.full((8, width, 3), 250, np.uint8) for width in (40, 20))
    strong[2:6, ::4], faint[2:6, ::4] = 0, 225
    other = np.array(strong[:, :30])

    def read_small(crops):
        answers = {40: spell("abcd"), 30: spell("abc", doubtful=(0, 1, 2)), 20: spell("ab", doubtful=(0, 1))}
        return [answers[crop.shape[1]] for crop in crops]

    large = ListedRecognizer("large", {20: 0.9, 30: 0.9})
    cascade = CascadeRecognizer(read_small, large.read)
    assert [result.text for result in cascade.read([strong, other, faint])] == ["abcd", "large", "ab"]
    assert large.widths == [30]
    # Alone it is no fainter than the page.
    assert cascade.read([faint])[0].text == "large"
