"""A new mechanism needs one file and one line; everything else finds it."""

import importlib.util
import sys
from dataclasses import replace

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, applies, fitted

from nhin.attention.base import Facts
from nhin.attention.registry import MECHANISMS, build
from nhin.errors import ShapeError, UnknownName

FILE = '''
r"""Attention by the cosine of query and key.

.. math::
    w_{ts} \\propto \\exp(\\tau \\cos(q_t, k_s))

Cost:    time O(T S D); memory O(T S).
Source:  nobody in particular.
Differs: nothing.
"""

import torch.nn.functional as F

from nhin.attention.masks import WindowMask
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.attention.base import Facts
from nhin.ranges import check_size


class Cosine(SoftmaxAttention):
    """Attends by direction alone, to the nearest positions."""

    facts = Facts(
        "cosine", "Cosine", "O(T·S·D)", "O(T·S)", False, "nobody",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode", "truncate"}),
        family="scores", state="2·S·G·D", use="To show that a file and a line are enough.",
    )

    def __init__(self, head_dim: int, window: int = 3, sharpness: float = 4.0) -> None:
        super().__init__()
        self.head_dim, self.sharpness = head_dim, sharpness
        self.pattern = WindowMask(check_size("window", window))

    def scores(self, q, k, p, s, size):
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return super().scores(q, k, p, s, size) * self.sharpness * q.shape[-1] ** 0.5
'''
CASES = [Sizes(), Sizes(t=3, s=7), Sizes(t=8, s=3), Sizes(b=3, t=1, s=6, groups=1, group_size=3), Sizes(d=1)]


@pytest.fixture
def one_file_and_one_line(tmp_path, monkeypatch):
    path = tmp_path / "cosine.py"
    path.write_text(FILE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("cosine", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cosine", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(MECHANISMS, "cosine", module.Cosine)


def make(n: Sizes, dtype=torch.float64):
    return build("cosine", heads=n.groups * n.group_size, head_dim=n.d).to(dtype)


@pytest.mark.usefixtures("one_file_and_one_line")
def test_every_law_covers_it_at_once():
    facts = make(Sizes()).facts
    covered = [law for law in LAWS.values() if applies(law, facts)]
    assert len(covered) >= len(LAWS) - 3  # it is not exact, and knows places
    for law in covered:
        for n in CASES:
            n = fitted(n, facts)
            law.holds(make, n)


@pytest.mark.usefixtures("one_file_and_one_line")
def test_a_false_claim_is_found_out():
    honest = MECHANISMS["cosine"]
    honest.facts = replace(honest.facts, exact=True)
    with pytest.raises(AssertionError):
        for n in CASES:
            LAWS["exact_means_equal_to_the_formula_by_hand"].holds(make, n)


@pytest.mark.usefixtures("one_file_and_one_line")
def test_it_is_built_by_name_with_its_own_settings():
    assert build("cosine", heads=4, head_dim=8, window=5).pattern.width == 5
    assert build("cosine", heads=4, head_dim=8).head_dim == 8
    with pytest.raises(UnknownName, match="did you mean window"):
        build("cosine", heads=4, head_dim=8, windows=5)
    with pytest.raises(UnknownName, match="did you mean softmax"):
        build("sofmax")
    with pytest.raises(ShapeError, match="window is 0; give at least 1"):
        build("cosine", heads=4, head_dim=8, window=0)


def test_facts_need_known_abilities():
    with pytest.raises(UnknownName, match="casual"):
        Facts("x", "X", "O(1)", "O(1)", True, "here", frozenset({"casual"}))
