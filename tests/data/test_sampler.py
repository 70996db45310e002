"""Every token is predicted once an epoch, and a position is all that is needed to resume."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nhin.data.text.sampler import MAX_WINDOWS, WindowPosition, WindowSampler
from nhin.errors import CheckpointError, DataError, UsageError

lengths, batches, seeds = st.integers(1, 9), st.integers(1, 9), st.integers(0, 5)


@st.composite
def windows(draw) -> WindowSampler:
    length = draw(lengths)
    return WindowSampler(draw(st.integers(length + 1, 100)), length, draw(batches), draw(seeds))


def take(
    sampler: WindowSampler, position: WindowPosition, count: int
) -> list[tuple[list[int], WindowPosition]]:
    return [(batch.starts.tolist(), batch.after) for batch in islice(sampler.iter_batches(position), count)]


@given(sampler=windows(), epoch=st.integers(0, 9))
def test_every_token_is_predicted_once_an_epoch_but_less_than_a_window_at_each_end(sampler, epoch):
    starts = sampler.window_starts(epoch)
    targets = np.sort((starts[:, None] + np.arange(1, sampler.length + 1)).reshape(-1))
    assert len(starts) == sampler.count(epoch) > 0
    np.testing.assert_array_equal(targets, np.arange(targets[0], targets[-1] + 1))
    assert 0 <= targets[0] - 1 < sampler.length
    assert 0 <= sampler.tokens - 1 - targets[-1] < sampler.length


@given(sampler=windows())
def test_batches_are_the_epochs_one_after_the_other(sampler):
    flow = np.concatenate([sampler.window_starts(epoch) for epoch in range(12)])
    count = len(flow) // sampler.batch
    together = [start for starts, _ in take(sampler, WindowPosition(), count) for start in starts]
    np.testing.assert_array_equal(together, flow[: len(together)])


@given(sampler=windows(), before=st.integers(0, 30))
def test_a_position_gives_the_same_batches_after_a_restart(sampler, before):
    all_batches = take(sampler, WindowPosition(), before + 5)
    position = all_batches[before - 1][1] if before else WindowPosition()
    fresh = WindowSampler(sampler.tokens, sampler.length, sampler.batch, sampler.seed)
    assert take(fresh, position, 5) == all_batches[before:]


@given(sampler=windows(), steps=st.integers(1, 30))
def test_a_position_counts_the_windows_that_were_taken(sampler, steps):
    position = take(sampler, WindowPosition(), steps)[-1][1]
    assert (
        sum(sampler.count(epoch) for epoch in range(position.epoch)) + position.index == steps * sampler.batch
    )
    assert position.index < sampler.count(position.epoch)


@given(sampler=windows(), world=st.integers(1, 9))
def test_processes_together_see_the_batch_of_one(sampler, world):
    if sampler.batch % world:
        with pytest.raises(UsageError, match=f"{sampler.batch} does not divide among {world}"):
            sampler.rank_slice(0, world)
        return
    starts = sampler.next_batch(WindowPosition()).starts
    parts = [starts[sampler.rank_slice(rank, world)] for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    np.testing.assert_array_equal(np.stack(parts, axis=1).ravel(), starts)


def test_epochs_differ_in_their_order_and_in_where_they_begin():
    sampler = WindowSampler(1001, 10, 4)
    orders = [sampler.window_starts(epoch) for epoch in range(8)]
    assert len({sampler.phase(epoch) for epoch in range(8)}) > 3
    assert len({tuple(order - order.min()) for order in orders}) == 8
    assert not np.array_equal(sampler.window_starts(0), np.sort(sampler.window_starts(0)))
    assert len({WindowSampler(1001, 10, 4, seed).phase(0) for seed in range(8)}) > 3
    assert not np.array_equal(sampler.window_starts(0), WindowSampler(1001, 10, 4, seed=1).window_starts(0))


@given(tokens=st.integers(0, 20), length=lengths)
def test_a_text_shorter_than_a_window_says_how_long_the_context_may_be(tokens, length):
    assume(tokens <= length)
    words = f"may be {tokens - 1} at most" if tokens > 1 else "nothing to predict"
    with pytest.raises(DataError, match=words):
        WindowSampler(tokens, length, 1)


def test_more_windows_than_can_be_shuffled_are_refused_before_anything_is_allocated():
    with pytest.raises(DataError, match="a context of 21 or more"):
        WindowSampler(20 * MAX_WINDOWS + 1, 10, 1)
    assert WindowSampler(20 * MAX_WINDOWS, 20, 1).count(0) >= MAX_WINDOWS - 1


@pytest.mark.parametrize("wrong", [{"length": 0}, {"batch": 0}, {"seed": -1}], ids=str)
def test_impossible_wishes_are_refused(wrong):
    with pytest.raises(UsageError):
        WindowSampler(**{"tokens": 50, "length": 5, "batch": 2, **wrong})


@pytest.mark.parametrize("position", [WindowPosition(-1, 0), WindowPosition(0, -1), WindowPosition(0, 11)])
def test_a_position_outside_the_text_is_refused(position):
    with pytest.raises(CheckpointError, match="no window"):
        WindowSampler(51, 5, 2).next_batch(position)
