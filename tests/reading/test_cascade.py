"""Sure lines are read once, by the small network; those in doubt again, by the large one."""

from collections.abc import Sequence

import numpy as np

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


def test_one_doubtful_character_in_a_long_line_is_no_doubt_about_the_line():
    def read(crops: Sequence[np.ndarray]) -> list[Recognition]:
        letters = [Span("a", 0.3, 0, 1), *[Span("a", 0.999, 0, 1)] * (crops[0].shape[1] - 1)]
        return [Recognition("a" * len(letters), 0.29, tuple(letters))]

    large = ListedRecognizer("large", {9: 0.5, 90: 0.5})
    cascade = CascadeRecognizer(read, large.read)
    texts = [cascade.read([np.zeros((8, width, 3), np.uint8)])[0].text for width in (9, 90)]
    assert texts == ["large", "a" * 90]


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
