"""Laws of the figures that tell how well text was read."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.metrics.calibration import Calibration
from nhin.metrics.char_errors import Breakdown, compare_chars
from nhin.metrics.edit_distance import edit_distance
from nhin.metrics.error_rates import FIGURES, NORMALIZERS, Score, cer

texts = st.text("aAăắbB đĐ1", max_size=6)
crops = st.lists(st.tuples(texts, texts), min_size=1, max_size=6)


def figures(pairs):
    score = Score()
    for read, true in pairs:
        score.add(read, true)
    return score.figures()


@settings(max_examples=100, deadline=None)
@given(pairs=crops)
def test_rates_are_sums_over_all_crops(pairs):
    got = figures(pairs)
    edits, length = sum(edit_distance(*pair) for pair in pairs), sum(len(true) for _, true in pairs)
    assert got["mean_edit_distance"] == pytest.approx(edits / len(pairs))
    assert got["cer"] == pytest.approx(edits / length if length else 0.0)
    assert got["word_accuracy"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))


@settings(max_examples=100, deadline=None)
@given(pairs=crops)
def test_character_accuracy_and_error_rate_differ_by_the_extra_characters(pairs):
    got, parts = figures(pairs), Breakdown()
    for read, true in pairs:
        parts.add(read, true)
    counts = parts.figures()
    if counts["characters"]:
        extra = counts["extra"] / counts["characters"]
        assert got["cer"] + got["char_accuracy"] == pytest.approx(1 + extra)
    assert counts["matched"] + counts["substituted"] + counts["missing"] == counts["characters"]


@settings(max_examples=60, deadline=None)
@given(pairs=crops)
def test_lenient_forms_never_score_worse(pairs):
    got = figures(pairs)
    for ending in ("_no_case", "_no_marks"):
        assert got["word_accuracy" + ending] >= got["word_accuracy"]
        assert got["cer" + ending] <= got["cer"] + 1e-12


@settings(max_examples=40, deadline=None)
@given(read=texts, true=texts)
def test_unicode_form_does_not_matter(read, true):
    apart = [unicodedata.normalize("NFD", text) for text in (read, true)]
    assert figures([(read, true)]) == figures([tuple(apart)])


def test_every_figure_has_every_form():
    assert set(figures([("a", "b")])) == {name + ending for name in FIGURES for ending in NORMALIZERS}


def test_figures_of_a_known_reading():
    got = figures([("PHO BÒ", "Phở bò"), ("phở", "phở")])
    assert got["word_accuracy"] == 0.5
    assert got["cer"] == 4 / 9
    assert got["wer"] == 2 / 3
    assert got["wer_no_case"] == 1 / 3
    assert got["word_accuracy_no_marks"] == 0.5
    assert got["cer_no_case"] == 1 / 9
    assert cer("pho", "phở") == 1 / 3


def test_figures_of_nothing_are_zero():
    assert set(Score().figures().values()) == {0.0}


@pytest.mark.parametrize(
    ("read", "true", "parts"),
    [
        ("a", "á", ("tone",)),
        ("â", "ă", ("mark",)),
        ("o", "ợ", ("mark", "tone")),
        ("d", "Đ", ("mark", "case")),
        ("x", "ă", ("base",)),
        ("A", "a", ("case",)),
        ("ế", "ế", ()),
    ],
)
def test_a_wrong_letter_says_which_part_is_wrong(read, true, parts):
    assert compare_chars(read, true) == parts


def test_breakdown_counts_parts_and_confusions():
    parts = Breakdown()
    for read, true in [("ma", "má"), ("dương", "đường"), ("xx", "x"), ("", "y")]:
        parts.add(read, true)
    got = parts.figures()
    assert got["wrong"] == {"base": 0, "mark": 1, "tone": 2, "case": 0}
    assert got["only"] == {"base": 0, "mark": 1, "tone": 2, "case": 0}
    assert (got["extra"], got["missing"]) == (1, 1)
    assert got["marks"] == [{"true": "stroke", "read": "none", "count": 1}]
    assert {(row["true"], row["read"]) for row in got["tones"]} == {("acute", "level"), ("grave", "level")}
    assert got["tone_recall"]["acute"] == 0.0
    json.dumps(got)


@settings(max_examples=40, deadline=None)
@given(answers=st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=20))
def test_calibration_error_is_between_zero_and_one(answers):
    calibration = Calibration()
    for confidence, right in answers:
        calibration.add(confidence, right)
    assert 0 <= calibration.ece() <= 1
    assert sum(b.count for b in calibration.bins()) == len(answers)


def test_calibration_error_of_known_answers():
    honest, boastful = Calibration(), Calibration()
    for i in range(100):
        honest.add(0.75, i % 4 != 0)
        boastful.add(1.0, i % 4 != 0)
    assert honest.ece() == pytest.approx(0)
    assert boastful.ece() == pytest.approx(0.25)
