"""Laws of calibrated confidences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.reading.confidence import ConfidenceMap, ReadingCalibration, mean_probability
from nhin.reading.result import Recognition, Span

maps = st.builds(
    ConfidenceMap, st.floats(0, 1000), st.floats(0, 1000), st.floats(-1000, 1000), st.floats(-1000, 1000)
)
lengths = st.integers(1, 300)
READING = Recognition("ab", 0.72, (Span("a", 0.9, 0, 5), Span("b", 0.8, 5, 9)), 90)


@settings(max_examples=60)
@given(maps, st.lists(st.floats(0, 1), min_size=1, max_size=8), lengths)
def test_a_confidence_lies_between_0_and_1_and_never_falls_when_the_probability_rises(mapping, p, length):
    confidences = mapping(np.sort(p), np.array(float(length)))
    assert (confidences >= 0).all()
    assert (confidences <= 1).all()
    assert (np.diff(confidences) >= -1e-9).all()


@given(st.floats(1e-3, 1 - 1e-3), lengths)
def test_the_map_without_settings_changes_nothing(p, length):
    assert ConfidenceMap()(np.array(p), np.array(float(length))) == pytest.approx(p)


def test_a_calibration_changes_confidences_and_nothing_else():
    doubtful = ConfidenceMap(offset=-1.0)
    for chars, lines in ((doubtful, ConfidenceMap()), (ConfidenceMap(), doubtful)):
        found = ReadingCalibration(chars, lines).apply(READING)
        assert (found.text, found.rotation) == (READING.text, READING.rotation)
        places = [(char.text, char.left, char.right) for char in READING.chars]
        assert [(char.text, char.left, char.right) for char in found.chars] == places
        assert (found.confidence < 0.7) == (lines is doubtful)
        assert all((new.confidence < 0.8) == (chars is doubtful) for new in found.chars)


def test_a_text_not_above_the_floor_is_dropped():
    p = mean_probability(READING)
    assert p == pytest.approx(0.72 ** (1 / 3))
    assert ReadingCalibration(floor=p - 1e-9).apply(READING).text == "ab"
    for reading in (READING, Recognition("", 0.0)):
        assert ReadingCalibration(floor=p).apply(reading) == Recognition("", 0.0)


def test_a_text_that_the_network_calls_impossible_is_never_likely():
    impossible = Recognition("ab", 0.0, (Span("a", 0.0, 0, 5), Span("b", 1.0, 5, 9)))
    assert ReadingCalibration().apply(impossible) == Recognition("", 0.0)
