"""Sizes, inputs and comparisons that laws are made of, and the table they enter themselves in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.testing import assert_close

from nhin.attention.base import Facts, Mechanism


@dataclass(frozen=True)
class Sizes:
    """The axes of one case; query heads are ``groups * group_size``."""

    b: int = 2
    t: int = 5
    s: int = 5
    groups: int = 2
    group_size: int = 2
    d: int = 4


@dataclass(frozen=True)
class Law:
    """A statement, the abilities it asks for, and how many times wider its cases are."""

    says: Callable[[Callable[..., Mechanism], Sizes], None]
    needs: frozenset[str]
    wider: int

    def holds(self, build: Callable[..., Mechanism], n: Sizes) -> None:
        """Raise AssertionError where the law is broken; ``build(n, dtype)`` is the same at every call."""
        n = replace(n, t=self.wider * n.t, s=self.wider * n.s, d=self.wider * n.d)
        self.says(partial(build, n), n)


LAWS: dict[str, Law] = {}


def law(*needs: str, wider: int = 1):
    def enter(says):
        LAWS[says.__name__] = Law(says, frozenset(needs), wider)
        return says

    return enter


def applies(law: Law, facts: Facts) -> bool:
    return law.needs <= facts.abilities | ({"exact"} if facts.exact else frozenset())


def fitted(n: Sizes, facts: Facts) -> Sizes:
    """Return a case that asks for nothing the mechanism has not."""
    if "cross" not in facts.abilities:
        n = replace(n, s=n.t)
    return n if "grouped" in facts.abilities else replace(n, group_size=1)


def draw(n: Sizes, dtype=torch.float64):
    torch.manual_seed(hash(n) % 1000)
    q = torch.randn(n.b, n.t, n.groups * n.group_size, n.d, dtype=dtype)
    k, v = torch.randn(2, n.b, n.s, n.groups, n.d, dtype=dtype)
    return [x.clone().requires_grad_() for x in (q, k, v)]


def some_keys(n: Sizes) -> torch.Tensor:
    """Hide keys here and there, and all of them in the last row where there are several rows."""
    keep = torch.arange(n.b * n.s).reshape(n.b, n.s) * 7 % 5 < 3
    return keep & (torch.arange(n.b) < max(1, n.b - 1))[:, None]


def ways(n: Sizes, facts: Facts) -> Iterator[dict]:
    """Yield the ways of calling that the mechanism has the abilities for."""
    yield {}
    if "causal" in facts.abilities:
        yield {"causal": True}
    if "keep" in facts.abilities:
        yield {"keep": some_keys(n)}
    if {"causal", "keep"} <= facts.abilities:
        yield {"causal": True, "keep": some_keys(n)}


@contextmanager
def fresh_memory_holds_nan():
    """Let ``torch.empty`` hold NaN (the largest number where there is none), not whatever was there."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def by_way_of_meta(model: torch.nn.Module, build: Callable[[], torch.nn.Module]) -> Iterator[torch.nn.Module]:
    """Yield copies of a model that had no numbers for a while, as large models are built."""
    state = model.state_dict()
    with fresh_memory_holds_nan():
        for assign in (False, True):
            with torch.device("meta"):
                empty = build()
            empty = empty if assign else empty.to_empty(device="cpu")
            empty.load_state_dict(state, assign=assign)
            yield empty
        returned = deepcopy(model).to("meta").to_empty(device="cpu")
        returned.load_state_dict(state)
        yield returned


def at_any_length(function, backend="eager"):
    """Compile whole, with lengths as symbols where the code lets them be.

    The other axes belong to a model, and each of them as a symbol would double the time of compiling. The
    backend ``aot_eager`` traces the backward pass too, which takes longer than all the rest: it is for code
    with operators and gradients of its own.
    """
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend=backend)

    # What is traced once is found in no cache.
    @torch._dynamo.config.patch(fake_tensor_cache_enabled=False)
    def call(*inputs, **way):
        for x in (*inputs, *way.values()):
            if isinstance(x, torch.Tensor):
                torch._dynamo.maybe_mark_dynamic(x, 1)
        return compiled(*inputs, **way)

    return call


def gradients(out, inputs, weight=None, copies=1):
    """Return the gradients of a weighted sum, in which each of several copies has the same weights."""
    if weight is None:
        weight = torch.linspace(-1, 2, out.numel() // copies, dtype=out.dtype).repeat(copies)
        weight = weight.reshape(out.shape)
    return torch.autograd.grad((out * weight).sum(), inputs, materialize_grads=True)


def same(out, want, inputs, **close):
    """Agree in values and in the gradient of every input."""
    assert_close(out, want, **close)
    for got, expected in zip(gradients(out, inputs), gradients(want, inputs), strict=True):
        assert_close(got, expected, **close)
