"""Docstrings taken apart, and formulas as one reads them in a terminal."""

import pytest

from nhin.attention.registry import MECHANISMS
from nhin.viz.catalogue import list_entries
from nhin.viz.docstring import Formula, parse_arguments, parse_docstring, to_text
from nhin.viz.formula import latex_to_text

PAGE = r"""Something that looks.

.. math::
    a = b

    c = \frac{d}{e}

It works :math:`x` so, and
``so``.

.. math::
    f = g

Causal:  not always.
Cost:    time O(T),
         and memory O(1).

Differs: nothing.
"""


def test_a_page_is_title_body_and_remarks():
    parsed = parse_docstring(PAGE)
    assert parsed.title == "Something that looks."
    assert parsed.body == (
        Formula(("a = b", r"c = \frac{d}{e}")),
        "It works :math:`x` so, and ``so``.",
        Formula(("f = g",)),
    )
    assert parsed.remarks == {
        "Causal": "not always.",
        "Cost": "time O(T), and memory O(1).",
        "Differs": "nothing.",
    }


def test_nothing_told_is_nothing():
    parsed = parse_docstring(None)
    assert (parsed.title, parsed.body, parsed.remarks) == ("", (), {})
    assert parse_arguments("No arguments.") == {}


def test_text_for_a_terminal_has_no_marks():
    assert to_text("see :math:`x_i` in ``call``") == "see x_i in call"


def test_arguments_are_told_by_name():
    parsed = parse_arguments(
        "Makes.\n\nArgs:\n    one: The first,\n        and more: so.\n    two: Another.\n\nReturns:\n    It."
    )
    assert parsed == {"one": "The first, and more: so.", "two": "Another."}


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac{q^\top k}{\sqrt{D}}", "(qᵀ k) / √D"),
        (r"\tfrac{1}{\sqrt{m}}\, e^{x}", "(1 / √m) e^x"),
        (r"\frac{a}{\frac{b}{c}}", "a / (b / c)"),
        (r"\mathrm{softmax}\left(Q K^\top\right) V", "softmax(Q Kᵀ) V"),
        (r"\bar h_s \in \{1, \ldots\}", "h̄_s ∈ {1, …}"),
        (r"x_i &= y, \qquad z", "x_i = y,   z"),
        (r"\begin{cases} a & b \\ c & d \end{cases}", "a b ; c d"),
        (r"\frac12", "1 / 2"),
        (r"\sqrt{D + 1}", "√(D + 1)"),
    ],
)
def test_formulas_are_readable(latex, text):
    assert latex_to_text(latex) == text.strip()


def test_everything_listed_tells_enough_to_be_listed():
    for one in list_entries():
        assert one.doc.title, one.name
        assert one.source, one.name
        for formula in one.doc.formulas:
            for line in formula.lines:
                shown = latex_to_text(line)
                assert "\\" not in shown, (one.name, shown)
                assert shown.count("(") == shown.count(")"), (one.name, shown)
                assert "&" not in shown, (one.name, shown)


def test_every_setting_of_every_mechanism_is_explained():
    for one in list_entries():
        if one.name in MECHANISMS:
            assert all(meaning for _, meaning in one.settings.values()), (one.name, one.settings)
