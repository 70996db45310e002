"""Reading on from keys, values and buckets answers as a call over all, and faults in what is kept show."""

import pytest
import torch
from cases import Sizes, draw
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nhin.attention.base import CacheSpec
from nhin.attention.lsh.cache import LSHCache
from nhin.attention.lsh.lsh import LSH


def long(dtype=torch.float64):
    torch.manual_seed(1)
    q = torch.randn(2, 560, 4, 8, dtype=dtype)
    k, v = (torch.randn(2, 560, 2, 8, dtype=dtype) for _ in range(2))
    return q, k, v


class Largest(TorchDispatchMode):
    """Counts the numbers of the largest tensor that any operation returned, views of the store aside."""

    def __init__(self, state):
        super().__init__()
        self.store = {x.untyped_storage().data_ptr() for x in state.tensors.values()}
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in self.store:
                self.numbers = max(self.numbers, x.numel())
        return out


def reads_on(state=LSHCache):
    """Steps after a long start, in rows of two lengths, answer as a call over all."""
    inputs = long()
    mechanism = LSH(8, buckets=8)
    assert isinstance(mechanism.init_cache(CacheSpec(2, 560, 2, 8)), LSHCache)
    want = mechanism(*inputs, causal=True)
    held = state(CacheSpec(2, 560, 2, 8, torch.float64), mechanism, mechanism.hash_buckets, mechanism.rounds)
    assert_close(held.prefill(*(x[:, :550] for x in inputs)), want[:, :550])
    steps = [held.step(*(x[:, i : i + 1] for x in inputs)) for i in range(550, 560)]
    assert_close(torch.cat(steps, 1), want[:, 550:])
    uneven = state(
        CacheSpec(2, 560, 2, 8, torch.float64), mechanism, mechanism.hash_buckets, mechanism.rounds
    )
    uneven.prefill(*(x[:, :550] for x in inputs), lengths=(550, 300))
    for i in range(4):
        rows = torch.tensor([550 + i, 300 + i])
        one = [x[torch.arange(2), rows][:, None] for x in inputs]
        assert_close(uneven.step(*one)[:, 0], want[torch.arange(2), rows])


def test_a_state_reads_on_from_long_texts():
    reads_on()


def test_a_state_touches_only_the_keys_of_the_query_s_buckets():
    q, k, v = long(torch.float32)
    mechanism = LSH(8, buckets=32, rounds=1)
    with torch.no_grad():
        state = mechanism.init_cache(CacheSpec(2, 600, 2, 8))
        state.prefill(q, k, v)
        with Largest(state) as seen:
            state.step(*(x[:, :1] for x in (q, k, v)))
    assert seen.numbers <= state.tensors["keys"].numel() // 4
    assert state.size == 2 * 2 * 600 * 2 * 8 * 4 + 2 * 600 * 2 * 4


@pytest.mark.parametrize("spoilt", ["keys", "values"])
def test_a_state_shows_broken_keys_to_those_who_see_them(spoilt):
    """As a call over all does: to the queries of the bucket of zeros and at the own place, to nobody else."""
    inputs = [x.detach().clone() for x in draw(Sizes(t=9, s=9))]
    inputs[1 if spoilt == "keys" else 2][:, 3, 0] = float("nan")
    mechanism = LSH(4, buckets=4, rounds=2)
    want = mechanism(*inputs, causal=True)
    with torch.no_grad():
        state = mechanism.init_cache(CacheSpec(2, 9, 2, 4, torch.float64))
        got = torch.cat([state.step(*(x[:, i : i + 1] for x in inputs)) for i in range(9)], 1)
    assert want[:, 3, :2].isnan().all()
    assert want[:, 4:].isfinite().any()
    assert_close(got, want, equal_nan=True)


def test_rows_in_which_nothing_is_read_do_not_disturb_a_step():
    inputs = [x.detach() for x in draw(Sizes(t=3, s=3))]
    with torch.no_grad():
        state = LSH(4, buckets=4, rounds=2).init_cache(CacheSpec(2, 2, 2, 4, torch.float64))
        state.prefill(*(x[:, :1] for x in inputs), lengths=(1, 0))
        out = state.prefill(*(x[:, 1:2] for x in inputs), lengths=(1, 0))
        assert state.lengths == (2, 0)
        assert not out[1].any()
        want = LSH(4, buckets=4, rounds=2)(*(x[:1, :2] for x in inputs), causal=True)
        assert_close(out[0], want[0, 1:])


class ForgetsItsOwn(LSHCache):
    def _visible_mask(self, q, stop):
        return super()._visible_mask(q, stop + 1)


class KeepsNoBuckets(LSHCache):
    def _write(self, k, v, new):
        super()._write(k, v, new)
        self.tensors["buckets"].zero_()


@pytest.mark.parametrize("state", [ForgetsItsOwn, KeepsNoBuckets])
def test_a_fault_in_the_state_is_caught(state):
    with pytest.raises(AssertionError):
        reads_on(state=state)
