"""Doubtful marks are settled by the words beside them; what is sure, and what is no syllable, stays."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from nhin.decoding.mark_bigram import Alternative
from nhin.reading.char_spans import measure_spans
from nhin.reading.mark_opinion import settle_marks
from nhin.reading.result import Recognition, Span
from nhin.text.charset import PAD, VIETNAMESE
from nhin.text.unmarked import Slot


class ListedWords:
    """Gives each open slot the probabilities of a list; records the sentences that it is asked about."""

    def __init__(self, chances: dict[str, float]) -> None:
        self.chances, self.asked = chances, list[list[Slot]]()

    def list_alternatives(self, sentences: Sequence[Sequence[Slot]]) -> list[list[list[Alternative]]]:
        self.asked += [list(sentence) for sentence in sentences]
        listed = [Alternative(word, chance) for word, chance in self.chances.items()]
        return [
            [listed if slot.is_open else [Alternative(slot.word, 1.0)] for slot in sentence]
            for sentence in sentences
        ]


def spell(text: str, doubtful: dict[int, tuple[float, str, float]]) -> Recognition:
    """Return a line; a doubtful letter has a confidence, another letter and that one's share."""
    chars = []
    for i, char in enumerate(text):
        confidence, other, share = doubtful.get(i, (0.99, "", 0.0))
        chars.append(Span(char, confidence, i, i + 1, ((other, share),) if other else ()))
    return Recognition(text, math.prod(char.confidence for char in chars), tuple(chars))


WORDS = {"tổ": 0.95, "tố": 0.04, "to": 0.01}


def test_the_words_beside_it_settle_a_doubtful_mark():
    line, model = spell("Tố chức lại", {1: (0.6, "ổ", 0.9)}), ListedWords(WORDS)
    line = replace(line, alternatives=(("Tố chức lại", 0.6),))
    (settled,) = settle_marks([line], model)  # pyright: ignore[reportArgumentType]
    assert settled.text == "Tổ chức lại"
    assert settled.alternatives == ()
    assert [slot.word for slot in model.asked[0]] == ["to", "chức", "lại"]
    assert [slot.is_open for slot in model.asked[0]] == [True, False, False]
    assert [(a.left, a.right) for a in settled.chars] == [(a.left, a.right) for a in line.chars]
    assert settled.chars[0] == line.chars[0]
    assert 0.5 < settled.chars[1].confidence < 1
    assert settled.confidence == pytest.approx(math.prod(char.confidence for char in settled.chars))


def test_a_mark_that_the_network_is_surer_of_stays():
    lines = [spell("tố chức", {1: (0.97, "ổ", 0.02)}), spell("tố chức", {})]
    assert settle_marks(lines, ListedWords(WORDS)) == lines  # pyright: ignore[reportArgumentType]


def test_a_doubt_that_no_words_could_settle_asks_nobody():
    model = ListedWords(WORDS)
    lines = [spell("tố chức", {1: (0.97, "ổ", 0.02)})]
    assert settle_marks(lines, model) == lines  # pyright: ignore[reportArgumentType]
    assert not model.asked


def test_what_is_no_syllable_and_a_line_without_doubt_ask_nobody():
    model = ListedWords({})
    lines = [spell("tốx wê", {1: (0.3, "ổ", 0.9), 5: (0.3, "e", 0.9)}), spell("", {}), spell("abc", {})]
    assert settle_marks(lines, model) == lines  # pyright: ignore[reportArgumentType]
    assert not model.asked


def test_a_long_line_costs_as_much_a_word_as_a_short_one():
    text = " ".join(["tố"] * 200)
    model = ListedWords(WORDS)
    settle_marks([spell(text, dict.fromkeys(range(1, len(text), 3), (0.6, "ổ", 0.9)))], model)  # pyright: ignore[reportArgumentType]
    assert len(model.asked) == 200
    assert max(map(len, model.asked)) < 20


def test_capitals_stay_capitals():
    line = spell("TỐ CHỨC", {1: (0.6, "Ổ", 0.9)})
    (settled,) = settle_marks([line], ListedWords(WORDS))  # pyright: ignore[reportArgumentType]
    assert settled.text == "TỔ CHỨC"


def test_the_bundled_model_knows_everyday_words():
    line = spell("các tố chức và cá nhân", {5: (0.6, "ổ", 0.9)})
    assert settle_marks([line])[0].text == "các tổ chức và cá nhân"


def make_frames(*rows: dict[str, float]) -> np.ndarray:
    """Return log-probabilities; what is left of a frame is shared by the other characters."""
    frames = np.empty((len(rows), len(VIETNAMESE)), np.float32)
    for frame, row in zip(frames, rows, strict=True):
        frame[:] = np.log((1 - sum(row.values())) / (len(VIETNAMESE) - len(row)))
        for char, chance in row.items():
            frame[VIETNAMESE.encode(char)[0] if char else PAD] = np.log(chance)
    return frames


def test_a_doubtful_letter_lists_those_that_differ_in_marks_with_their_shares():
    frames = make_frames(
        {"t": 0.99}, {"": 0.9}, {"ố": 0.6, "ổ": 0.3, "c": 0.05}, {"": 0.9}, {"n": 0.6, "m": 0.3}
    )
    spans = measure_spans(VIETNAMESE, VIETNAMESE.encode("tốn"), np.log([0.99, 0.6, 0.6]).tolist(), frames, 5)
    assert [span.text for span in spans] == list("tốn")
    assert spans[0].others == () == spans[2].others
    ((other, share),) = spans[1].others
    assert other == "ổ"
    assert share == pytest.approx(0.3 / 0.4, abs=0.02)


def test_variants_of_a_letter_have_its_base_and_its_case():
    texts = ["".join(VIETNAMESE.decode([i]) for i in VIETNAMESE.list_variants(char)) for char in "dĐếz☃"]
    assert texts[:2] == ["đ", "D"]
    assert set("eèéẻẽẹêềểễệ") == set(texts[2])
    assert texts[3:] == ["", ""]
