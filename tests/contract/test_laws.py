"""Every mechanism of the registry keeps every law that its facts say applies."""

import inspect
from functools import partial

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, applies, at_any_length, draw, fitted, some_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.attention.base import ABILITIES, CacheSpec, Mechanism
from nhin.attention.registry import MECHANISMS, build
from nhin.errors import UsageError

HEADS, HEAD_DIM = 4, 6
sizes = st.integers(1, 9)
few = st.integers(1, 3)
cases = st.builds(Sizes, b=few, t=sizes, s=sizes, groups=few, group_size=few, d=sizes)
each = pytest.mark.parametrize("name", MECHANISMS)


def made(name: str, n: Sizes, dtype: torch.dtype = torch.float64) -> Mechanism:
    """Build a mechanism for a case, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(name, heads=n.groups * n.group_size, head_dim=n.d).to(dtype)


APPLIES = [(name, law) for name, kind in MECHANISMS.items() for law in LAWS if applies(LAWS[law], kind.facts)]


@pytest.mark.parametrize(("name", "law"), APPLIES)
def test_the_law_holds(name, law):
    facts = MECHANISMS[name].facts

    @settings(max_examples=4)
    @given(n=cases)
    def holds(n):
        n = fitted(n, facts)
        LAWS[law].holds(partial(made, name), n)

    holds()


@each
def test_facts_are_complete_and_carry_the_name_of_the_table(name):
    mechanism = build(name, heads=HEADS, head_dim=HEAD_DIM)
    assert isinstance(mechanism, Mechanism)
    facts = mechanism.facts
    assert facts.name == name
    assert all((facts.title, facts.time, facts.memory, facts.source, facts.family, facts.use))
    assert facts.abilities <= set(ABILITIES)
    assert bool(facts.state) == ("decode" in facts.abilities)


@each
def test_the_file_says_formula_cost_source_and_departures(name):
    told = inspect.getmodule(type(build(name, heads=HEADS, head_dim=HEAD_DIM))).__doc__
    for part in (".. math::", "Cost:", "Source:", "Differs:"):
        assert part in told, f"the docstring of {name} lacks {part}"


@each
def test_an_ability_that_is_lacking_is_refused_with_those_that_have_it(name):
    mechanism = build(name, heads=HEADS, head_dim=HEAD_DIM)
    n = Sizes(groups=HEADS, group_size=1, d=HEAD_DIM)
    q, k, v = draw(n, torch.float32)
    asked = {
        "causal": lambda: mechanism(q, k, v, causal=True),
        "keep": lambda: mechanism(q, k, v, keep=some_keys(n)),
        "cross": lambda: mechanism(q[:, :3], k, v),
        "grouped": lambda: mechanism(q, k[:, :, :2], v[:, :, :2]),
        "decode": lambda: mechanism.init_cache(CacheSpec(2, 5, HEADS, HEAD_DIM)),
    }
    for ability, ask in asked.items():
        if ability in mechanism.facts.abilities:
            ask()
        else:
            with pytest.raises(UsageError, match=f"{name} lacks '{ability}'.*these have it: .*softmax"):
                ask()


# The others of the family "linear" take the operators of the first.
WITH_OWN_OPERATORS = ("flash", "linear")


@each
@pytest.mark.compiled
def test_a_compiled_mechanism_answers_alike_at_any_length(name):
    mechanism = build(name, heads=HEADS, head_dim=HEAD_DIM)
    known = mechanism.facts.abilities
    compiled = at_any_length(mechanism, "aot_eager" if name in WITH_OWN_OPERATORS else "eager")
    way = {"causal": True} if "causal" in known else {}
    for t in (5, 7):
        n = fitted(Sizes(t=t, s=t + 2, d=HEAD_DIM, groups=HEADS // 2, group_size=2), mechanism.facts)
        n = n if n.group_size == 2 else Sizes(n.b, n.t, n.s, HEADS, 1, n.d)
        inputs = draw(n, torch.float32)
        if mechanism.facts.family == "linear":
            # Logarithms of features that rise steeply: a compiled call cannot branch on values.
            inputs[1].data *= 30.0
            inputs[1].data[:, -1] = 0.0
        called = way | ({"keep": some_keys(n)} if "keep" in known else {})
        out, want = compiled(*inputs, **called), mechanism(*inputs, **called)
        torch.testing.assert_close(out, want)
        got, expected = (
            torch.autograd.grad(o.sin().sum(), inputs, materialize_grads=True) for o in (out, want)
        )
        torch.testing.assert_close(got, expected)
