"""Laws of reading crops, with a network that reads bars: a bar's height is its letter."""

import numpy as np
import pytest
from bars import BAR, LETTERS, Bars, bars
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.errors import UnknownName
from nhin.reading.confidence import ConfidenceMap, ReadingCalibration
from nhin.reading.recognizer import MODES, Recognizer

words = st.text("abcdefg", min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(words, max_size=40), mode=st.sampled_from(MODES))
def test_a_crop_reads_the_same_alone_and_in_a_batch(texts, mode):
    reader = Recognizer(Bars(), LETTERS, mode=mode)
    with pytest.MonkeyPatch.context() as patch:  # Bars reads a stretched crop as another text
        patch.setattr("nhin.reading.candidate_ranker.make_views", lambda crop: [crop])
        together = reader.read([bars(text) for text in texts])
        assert [reading.text for reading in together] == texts
        assert together == [reader.read([bars(text)])[0] for text in texts]


@settings(max_examples=25, deadline=None)
@given(text=words)
def test_spans_are_where_the_letters_were_drawn(text):
    for char, place in zip(Recognizer(Bars(), LETTERS).read([bars(text)])[0].chars, range(99), strict=False):
        middle = BAR * (2 * place + 1.5)
        assert char.left < middle < char.right
        assert char.text == text[place]
        assert char.left >= 0
        assert char.right <= bars(text).shape[1]


def test_spans_are_in_the_pixels_of_the_crop():
    small, large = bars("bdf"), bars("bdf").repeat(3, axis=0).repeat(3, axis=1)
    reader = Recognizer(Bars(), LETTERS)
    for a, b in zip(reader.read([small])[0].chars, reader.read([large])[0].chars, strict=True):
        assert b.left == pytest.approx(3 * a.left)
        assert b.right == pytest.approx(3 * a.right)


def test_confidence_is_the_product_over_letters_and_end():
    reading = Recognizer(Bars(), LETTERS).read([bars("abc")])[0]
    end = reading.confidence / np.prod([char.confidence for char in reading.chars])
    assert 0 < end < 1
    assert reading.chars[0].confidence == pytest.approx(end)


@pytest.mark.parametrize("mode", ["both", "exact", "fast"])
def test_temperature_softens_confidence_only(mode):
    plain = Recognizer(Bars(), LETTERS, mode=mode).read([bars("abc")])[0]
    soft = Recognizer(Bars(), LETTERS, mode=mode, temperatures={mode: 3.0}).read([bars("abc")])[0]
    assert soft.text == plain.text
    assert soft.confidence < plain.confidence


def test_a_calibration_is_that_of_its_mode_and_never_chooses_the_text():
    calibrations = {"fast": ReadingCalibration(lines=ConfidenceMap(offset=-3.0))}
    for mode in MODES:
        plain = Recognizer(Bars(), LETTERS, mode=mode).read([bars("abc"), bars("g")])
        calibrated = Recognizer(Bars(), LETTERS, mode=mode, calibrations=calibrations)
        for before, after in zip(plain, calibrated.read([bars("abc"), bars("g")]), strict=True):
            assert before.text == after.text
            assert (after.confidence < before.confidence) == (mode == "fast")


def test_the_decoder_corrects_the_draft_and_only_in_exact_mode():
    assert Recognizer(Bars("aba"), LETTERS, mode="exact").read([bars("ag")])[0].text == "aba"
    assert Recognizer(Bars("aba"), LETTERS, mode="fast").read([bars("ag")])[0].text == "ag"


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("shape", [(40, 100, 3), (1, 1, 3), (30, 30), (0, 5, 3), (5, 0, 3), (3, 4000, 3)])
def test_a_flat_crop_is_never_read(value, shape):
    class Shy(Bars):
        def encode(self, pictures):
            memory, log_probs = super().encode(pictures * 0 + 1)
            return memory, log_probs

        def decode(self, memory, tokens):
            raise AssertionError("the decoder was asked about a blank crop")

    reading = Recognizer(Shy(), LETTERS).read([np.full(shape, value, dtype=np.uint8)])[0]
    assert (reading.text, reading.confidence, reading.chars) == ("", 0.0, ())


def test_batches_are_bounded_in_rows_and_columns():
    pair = Bars()
    Recognizer(pair, LETTERS, mode="fast").read([bars("ab")] * 70)
    assert pair.batches == [32, 32, 6]
    pair = Bars()
    Recognizer(pair, LETTERS, mode="fast").read([np.full((40, 300, 3), 255, np.uint8)] * 40)
    assert max(pair.batches) * 300 <= 4096 + 300


def test_no_crops_give_no_readings():
    assert Recognizer(Bars(), LETTERS).read([]) == []


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(UnknownName, match="exact"):
        Recognizer(Bars(), LETTERS, mode="exakt")


@pytest.mark.parametrize(("doubt", "want"), [(0.0, "agagagag"), (0.9999, "aba")])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_both_heads_together_choose_between_draft_and_answer(doubt, want, temperature):
    """A confident CTC head keeps its draft; otherwise the decoder's answer is taken."""
    sure = Bars("aba")

    class Doubting(Bars):
        def encode(self, pictures):
            memory, log_probs = sure.encode(pictures)
            even = np.full_like(log_probs, -np.log(len(LETTERS)))
            return memory, np.logaddexp(log_probs + np.log(1 - doubt), even + np.log(doubt + 1e-9)).astype(
                np.float32
            )

    reader = Recognizer(Doubting("aba"), LETTERS, mode="both", temperatures={"both": temperature})
    assert reader.read([bars("agagagag")])[0].text == want
