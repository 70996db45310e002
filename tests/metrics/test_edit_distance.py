"""Laws of edit distance, against the definition written out."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.metrics.edit_distance import align_texts, edit_distance

texts = st.text("abáăA ", max_size=7)


def slow(a: str, b: str) -> int:
    @cache
    def go(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(go(i - 1, j) + 1, go(i, j - 1) + 1, go(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return go(len(a), len(b))


@settings(max_examples=300, deadline=None)
@given(a=texts, b=texts)
def test_distance_is_the_recursive_definition(a, b):
    assert edit_distance(a, b) == slow(a, b) == edit_distance(b, a)


@settings(max_examples=60, deadline=None)
@given(a=st.text(max_size=150), b=st.text(max_size=150))
def test_long_texts_have_no_seam_at_a_machine_word(a, b):
    assert edit_distance(a, b) == slow(a, b)


@settings(max_examples=300, deadline=None)
@given(a=texts, b=texts)
def test_alignment_spells_both_texts_with_the_fewest_edits(a, b):
    pairs = align_texts(a, b)
    assert "".join(left for left, _ in pairs if left is not None) == a
    assert "".join(right for _, right in pairs if right is not None) == b
    assert (None, None) not in pairs
    assert sum(left != right for left, right in pairs) == edit_distance(a, b)


def test_alignment_prefers_equal_characters_then_equal_bases():
    assert align_texts("ab", "ba") in (
        [(None, "b"), ("a", "a"), ("b", None)],
        [("a", None), ("b", "b"), (None, "a")],
    )
    assert align_texts("tá", "tăx") == [("t", "t"), ("á", "ă"), (None, "x")]
    assert align_texts("tá", "txă") == [("t", "t"), (None, "x"), ("á", "ă")]


def test_words_can_be_compared_too():
    assert edit_distance("cà phê sữa".split(), "cà phê đá".split()) == 1
    assert edit_distance([], ["x"]) == edit_distance(["x"], []) == 1
