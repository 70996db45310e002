"""Laws of the figures that tell how well text was read."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.metrics.calibration import measure_calibration
from nhin.metrics.char_errors import Breakdown, compare_chars
from nhin.metrics.edit_distance import edit_distance
from nhin.metrics.error_rates import FIGURES, NORMALIZERS, Score, cer, measure_interval

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
    figures = measure_calibration([q for q, _ in answers], [right for _, right in answers])
    assert 0 <= figures.ece <= 1
    assert 0 <= figures.brier <= 1
    assert figures.log_loss >= 0
    assert sum(b.count for b in figures.bins) == len(answers)


def test_calibration_error_of_known_answers():
    right = [i % 4 != 0 for i in range(100)]
    assert measure_calibration([0.75] * 100, right).ece == pytest.approx(0)
    boastful = measure_calibration([1.0] * 100, right)
    assert (boastful.ece, boastful.brier) == pytest.approx((0.25, 0.25))


def test_an_answer_rate_counts_what_is_above_the_threshold():
    figures = measure_calibration([0.0, 0.6, 0.96, 0.97, 0.995], [False, True, False, True, True])
    rates = {rate.threshold: rate for rate in figures.answers}
    assert rates[0.0].answered == 0.8
    assert (rates[0.95].answered, rates[0.95].wrong) == (0.6, 1)
    assert rates[0.95].accuracy == pytest.approx(2 / 3)
    assert (rates[0.99].answered, rates[0.99].accuracy, rates[0.99].wrong) == (0.2, 1.0, 0)


def test_error_by_chance_is_that_of_confidences_which_are_the_true_probabilities():
    rng = np.random.default_rng(0)
    q = rng.random(500)
    errors = [measure_calibration(q, rng.random(500) < q).ece for _ in range(200)]
    assert np.mean(errors) == pytest.approx(measure_calibration(q, q < 1).ece_by_chance, rel=0.1)


def test_an_interval_holds_the_share_and_is_wider_where_neighbors_agree():
    rng = np.random.default_rng(0)
    alone = rng.random(5000) < 0.8
    together = np.repeat(rng.random(100) < 0.8, 50)
    for right in (alone, together):
        low, high = measure_interval(right.tolist())
        assert 0 <= low <= right.mean() <= high <= 1
    widths = [high - low for low, high in map(measure_interval, (alone.tolist(), together.tolist()))]
    assert widths[1] > 3 * widths[0]
    assert abs(widths[0] / (2 * 1.96 * np.sqrt(0.16 / 5000)) - 1) < 0.3


def test_too_few_crops_for_two_blocks_say_nothing():
    assert measure_interval([True] * 50) == (0.0, 1.0)
    assert measure_interval([]) == (0.0, 1.0)
