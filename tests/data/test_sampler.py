"""Every token is predicted once an epoch, and a place is all there is to know to go on."""

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


def taken(drawn: WindowSampler, place: WindowPosition, count: int) -> list[tuple[list[int], WindowPosition]]:
    return [(batch.starts.tolist(), batch.after) for batch in islice(drawn.iter_batches(place), count)]


@given(drawn=windows(), epoch=st.integers(0, 9))
def test_every_token_is_predicted_once_an_epoch_but_less_than_a_window_at_each_end(drawn, epoch):
    starts = drawn.window_starts(epoch)
    targets = np.sort((starts[:, None] + np.arange(1, drawn.length + 1)).reshape(-1))
    assert len(starts) == drawn.count(epoch) > 0
    np.testing.assert_array_equal(targets, np.arange(targets[0], targets[-1] + 1))
    assert 0 <= targets[0] - 1 < drawn.length
    assert 0 <= drawn.tokens - 1 - targets[-1] < drawn.length


@given(drawn=windows())
def test_batches_are_the_epochs_one_after_the_other(drawn):
    flow = np.concatenate([drawn.window_starts(epoch) for epoch in range(12)])
    count = len(flow) // drawn.batch
    together = [start for starts, _ in taken(drawn, WindowPosition(), count) for start in starts]
    np.testing.assert_array_equal(together, flow[: len(together)])


@given(drawn=windows(), before=st.integers(0, 30))
def test_whoever_starts_at_a_place_sees_what_those_see_who_came_there(drawn, before):
    whole = taken(drawn, WindowPosition(), before + 5)
    place = whole[before - 1][1] if before else WindowPosition()
    fresh = WindowSampler(drawn.tokens, drawn.length, drawn.batch, drawn.seed)
    assert taken(fresh, place, 5) == whole[before:]


@given(drawn=windows(), steps=st.integers(1, 30))
def test_a_place_counts_the_windows_that_were_taken(drawn, steps):
    place = taken(drawn, WindowPosition(), steps)[-1][1]
    assert sum(drawn.count(epoch) for epoch in range(place.epoch)) + place.index == steps * drawn.batch
    assert place.index < drawn.count(place.epoch)


@given(drawn=windows(), world=st.integers(1, 9))
def test_processes_together_see_the_batch_of_one(drawn, world):
    if drawn.batch % world:
        with pytest.raises(UsageError, match=f"{drawn.batch} does not divide among {world}"):
            drawn.rank_slice(0, world)
        return
    starts = drawn.next_batch(WindowPosition()).starts
    parts = [starts[drawn.rank_slice(rank, world)] for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    np.testing.assert_array_equal(np.concatenate(parts), starts)


def test_epochs_differ_in_their_order_and_in_where_they_begin():
    drawn = WindowSampler(1001, 10, 4)
    orders = [drawn.window_starts(epoch) for epoch in range(8)]
    assert len({drawn.phase(epoch) for epoch in range(8)}) > 3
    assert len({tuple(order - order.min()) for order in orders}) == 8
    assert not np.array_equal(drawn.window_starts(0), np.sort(drawn.window_starts(0)))
    assert len({WindowSampler(1001, 10, 4, seed).phase(0) for seed in range(8)}) > 3
    assert not np.array_equal(drawn.window_starts(0), WindowSampler(1001, 10, 4, seed=1).window_starts(0))


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


@pytest.mark.parametrize("place", [WindowPosition(-1, 0), WindowPosition(0, -1), WindowPosition(0, 11)])
def test_a_place_that_is_not_in_the_text_is_refused(place):
    with pytest.raises(CheckpointError, match="no window"):
        WindowSampler(51, 5, 2).next_batch(place)
