"""The laws of decoding: reading on from a state is the causal answer, whatever the state has been through."""

import pytest
import torch
from cases import Sizes, draw, law
from torch.testing import assert_close

from nhin.attention.base import Cache, CacheSpec, Mechanism
from nhin.errors import ShapeError, UsageError


def square(n: Sizes) -> tuple[Sizes, int]:
    """Return a case as long as its longer axis, and how much is read before the steps begin."""
    length = max(n.t, n.s)
    return Sizes(n.b, length, length, n.groups, n.group_size, n.d), min(n.t, n.s) - 1


def begun(mechanism: Mechanism, n: Sizes) -> Cache:
    return mechanism.init_cache(CacheSpec(n.b, n.t, n.groups, n.d, torch.float64))


def read(state: Cache, inputs, start: int, stop: int) -> torch.Tensor:
    """Read places one step at a time."""
    steps = [state.step(*(x[:, i : i + 1] for x in inputs)) for i in range(start, stop)]
    return torch.cat(steps, 1) if steps else inputs[0][:, :0]


@law("decode")
def all_at_once_in_chunks_and_step_by_step_are_one(make, n):
    n, first = square(n)
    mechanism = make()
    with torch.no_grad():
        inputs = draw(n)
        want = mechanism(*inputs, causal=True)
        state = begun(mechanism, n)
        chunks = [
            state.prefill(*(x[:, :first] for x in inputs)),
            state.prefill(*(x[:, first:] for x in inputs)),
        ]
        assert_close(torch.cat(chunks, 1), want)
        state = begun(mechanism, n)
        start = state.prefill(*(x[:, :first] for x in inputs))
        assert_close(torch.cat([start, read(state, inputs, first, n.t)], 1), want)
        assert state.lengths == (n.t,) * n.b


@law("decode")
def what_follows_a_snapshot_can_be_undone(make, n):
    n, first = square(n)
    mechanism = make()
    with torch.no_grad():
        inputs = draw(n)
        want = mechanism(*inputs, causal=True)
        state = begun(mechanism, n)
        state.prefill(*(x[:, :first] for x in inputs))
        taken = state.snapshot()
        for _ in range(2):
            state.prefill(*(x[:, first:].flip(1) * 3 for x in inputs))
            state.restore(taken)
            assert state.lengths == (first,) * n.b
        assert_close(read(state, inputs, first, n.t), want[:, first:])


@law("decode")
def after_reordering_each_row_goes_on_from_another(make, n):
    n, first = square(n)
    mechanism = make()
    rows = (torch.arange(n.b) * 2 + 1) % n.b
    with torch.no_grad():
        inputs = draw(n)
        mixed = [torch.cat([x[rows, :first], x[:, first:]], 1) for x in inputs]
        state = begun(mechanism, n)
        state.prefill(*(x[:, :first] for x in inputs))
        state.reorder(rows)
        assert_close(read(state, inputs, first, n.t), mechanism(*mixed, causal=True)[:, first:])


@law("decode")
def rows_of_different_lengths_answer_as_if_alone(make, n):
    n, first = square(n)
    mechanism = make()
    lengths = [max(0, first - row) for row in range(n.b)]
    with torch.no_grad():
        inputs = draw(n)
        state = begun(mechanism, n)
        start = state.prefill(*(x[:, :first] for x in inputs), lengths=lengths)
        assert state.lengths == tuple(lengths)
        again = [min(2, n.t - first) - row % 2 * min(1, n.t - first) for row in range(n.b)]
        more = state.prefill(*(x[:, first : first + 2] for x in inputs), lengths=again)
        stepped = read(state, inputs, min(first + 2, n.t), n.t)
        for row, (one, two) in enumerate(zip(lengths, again, strict=True)):
            parts = ((0, one), (first, first + two), (min(first + 2, n.t), n.t))
            alone = [torch.cat([x[row : row + 1, a:b] for a, b in parts], 1) for x in inputs]
            want = mechanism(*alone, causal=True)
            got = torch.cat([start[row, :one], more[row, :two], stepped[row]])
            assert_close(got, want[0])
            assert not start[row, one:].any()
            assert not more[row, two:].any()


@law("truncate")
def what_was_truncated_never_was(make, n):
    n, first = square(n)
    mechanism = make()
    with torch.no_grad():
        inputs = draw(n)
        want = mechanism(*inputs, causal=True)
        state = begun(mechanism, n)
        state.prefill(*(x[:, :first] for x in inputs))
        state.prefill(*(torch.full_like(x[:, first:], float("nan")) for x in inputs))
        state.truncate(first)
        assert_close(read(state, inputs, first, n.t), want[:, first:])


@law("decode")
def a_state_refuses_what_it_cannot_do_and_loses_nothing(make, n):
    n, first = square(n)
    mechanism = make()
    inputs = [x.detach() for x in draw(n)]
    state = begun(mechanism, n)
    size = state.size
    state.prefill(*(x[:, :first] for x in inputs))
    refused = [
        (lambda: state.prefill(*inputs), "full") if first else None,
        (lambda: state.step(*(x[:, :1, :, :-1] for x in inputs)), "shape"),
        (lambda: state.reorder(torch.zeros(n.b + 1, dtype=torch.long)), "rows"),
        (lambda: state.prefill(*(x[:, :1] for x in inputs), lengths=[2] * n.b), "lengths"),
        (lambda: state.restore({}), "snapshot"),
    ]
    for attempt in filter(None, refused):
        with pytest.raises(ShapeError, match=attempt[1]):
            attempt[0]()
    with pytest.raises(UsageError, match="inference_mode"):
        state.step(*(x[:, :1].clone().requires_grad_() for x in inputs))
    if "truncate" not in mechanism.facts.abilities:
        with pytest.raises(UsageError, match="snapshot"):
            state.truncate(0)
    assert state.lengths == (first,) * n.b
    assert state.size == size
    want = mechanism(*inputs, causal=True)
    assert_close(read(state, inputs, first, n.t), want[:, first:])
