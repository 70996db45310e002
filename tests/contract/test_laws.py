"""Every mechanism of the registry keeps every law that its facts say applies."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import LAWS, Sizes, applies, draw, some_keys

from nhin.attention.base import ABILITIES, Facts, Mechanism
from nhin.attention.registry import MECHANISMS, build
from nhin.errors import UnknownName

HEADS, HEAD_DIM = 4, 6
sizes = st.integers(1, 9)
few = st.integers(1, 3)
cases = st.builds(Sizes, b=few, t=sizes, s=sizes, groups=few, each=few, d=sizes)
each = pytest.mark.parametrize("name", MECHANISMS)


@each
@pytest.mark.parametrize("law", LAWS)
def test_the_law_holds(name, law):
    if not applies(LAWS[law], build(name, heads=HEADS, head_dim=HEAD_DIM)):
        pytest.skip(f"{name} does not claim what this law needs")

    @settings(max_examples=6, deadline=None, derandomize=True, database=None)
    @given(n=cases)
    def holds(n):
        LAWS[law].holds(lambda: build(name, heads=n.groups * n.each, head_dim=n.d), n)

    holds()


@each
def test_facts_are_complete_and_carry_the_name_of_the_table(name):
    mechanism = build(name, heads=HEADS, head_dim=HEAD_DIM)
    assert isinstance(mechanism, Mechanism)
    facts = mechanism.facts
    assert facts.name == name
    assert all((facts.title, facts.time, facts.memory, facts.source))
    assert facts.abilities <= set(ABILITIES)


@each
@pytest.mark.compiled
@pytest.mark.parametrize("way", [{"causal": True}, {"keep": True}, {"causal": True, "keep": True}], ids=str)
def test_a_compiled_mechanism_answers_alike_at_any_length(name, way):
    torch.compiler.reset()
    mechanism = build(name, heads=HEADS, head_dim=HEAD_DIM)
    compiled = torch.compile(mechanism, fullgraph=True, dynamic=True, backend="aot_eager")
    more = 2 if "keep" in way else 0
    for t in (5, 7):
        n = Sizes(t=t, s=t + more, d=HEAD_DIM)
        inputs = draw(n)
        called = way | ({"keep": some_keys(n)} if "keep" in way else {})
        out, want = compiled(*inputs, **called), mechanism(*inputs, **called)
        torch.testing.assert_close(out, want)
        got, expected = (torch.autograd.grad(o.sin().sum(), inputs) for o in (out, want))
        torch.testing.assert_close(got, expected)


def test_an_unknown_ability_is_refused():
    with pytest.raises(UnknownName, match="casual"):
        Facts("x", "X", "O(1)", "O(1)", True, "here", frozenset({"casual"}))


def test_adding_a_mechanism_takes_one_line(monkeypatch):
    """A mechanism needs a class with facts and a line in the table; sizes come to those that ask."""

    class Asks(torch.nn.Module):
        facts = Facts("asks", "Asks", "O(1)", "O(1)", False, "here")

        def __init__(self, heads: int, head_dim: int, window: int = 3) -> None:
            super().__init__()
            self.sizes = heads, head_dim, window

        def forward(self, q, k, v, *, causal=False, keep=None):
            return q

    monkeypatch.setitem(MECHANISMS, "asks", Asks)
    assert build("asks", heads=4, head_dim=8, window=5).sizes == (4, 8, 5)
    with pytest.raises(UnknownName, match="did you mean window"):
        build("asks", heads=4, head_dim=8, windows=5)
    with pytest.raises(UnknownName, match="did you mean softmax"):
        build("sofmax")
