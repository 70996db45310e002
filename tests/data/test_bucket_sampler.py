"""Batches: every sample once a pass, within the budget, in an order that a position determines."""

import time
from itertools import islice
from threading import Event

import numpy as np
import pytest
from fakes import Fake
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.data.images.bucket_sampler import (
    BatchConfig,
    StreamPosition,
    collate,
    iter_batches,
    make_batches,
    prefetch,
    round_width,
)
from nhin.data.images.chunk_cache import Chunk, render_chunk
from nhin.data.images.workers import ChunkLoader

CHUNK = render_chunk(Fake(), 0, 64)
ORDER = BatchConfig(seed=3, pixels=8 * 40 * 64, cycle=3)


def take(count, start=None, order=ORDER, size=32):
    with ChunkLoader(Fake(), size=size, workers=0) as chunks:
        return list(islice(iter_batches(chunks, order, start), count))


@settings(max_examples=20, deadline=None)
@given(sweep=st.integers(0, 5), number=st.integers(0, 5), pixels=st.integers(1, 10**6))
def test_every_sample_comes_once_and_within_the_budget(sweep, number, pixels):
    parts = make_batches(CHUNK, BatchConfig(pixels=pixels), sweep, number)
    assert sorted(np.concatenate(parts)) == list(range(len(CHUNK)))
    for part in parts:
        widths = CHUNK.widths[part]
        assert len(part) == 1 or widths.max() * CHUNK.height * len(part) <= pixels
        assert widths.min() >= 0.8 * widths.max()


@settings(max_examples=20, deadline=None)
@given(sweep=st.integers(0, 5), pixels=st.integers(40 * 64, 10**5))
def test_fixed_shapes_are_few_and_leave_no_sample_out(sweep, pixels):
    config = BatchConfig(pixels=pixels, fixed_shapes=True)
    parts = make_batches(CHUNK, config, sweep, 0)
    assert set(np.concatenate(parts)) == set(range(len(CHUNK)))
    for part in parts:
        shape = collate(CHUNK, part, fixed_shapes=True).shape
        full = max(1, pixels // (shape[1] * shape[2]))
        assert shape[2] == round_width(int(CHUNK.widths[part].max()))
        assert shape[0] in {full >> halvings for halvings in range(20)}


@given(st.integers(1, 5000))
def test_a_width_is_rounded_up_by_a_quarter_at_most(width):
    rounded = round_width(width)
    assert width <= rounded < width + max(16, width / 4)
    assert rounded % 16 == 0


def test_a_picture_and_its_text_stay_together():
    for part in make_batches(CHUNK, ORDER, 0, 0):
        stacked = collate(CHUNK, part)
        for picture, i in zip(stacked, part, strict=True):
            start, width = CHUNK.starts()[i], CHUNK.widths[i]
            want = CHUNK.pixels[start : start + 40 * width].reshape(40, width)
            assert np.array_equal(picture[:, :width], want)
            assert len(np.unique(picture[:, width:])) <= 1


@pytest.mark.parametrize("at", [0, 1, 7, 20])
def test_starting_at_a_position_gives_what_follows_it(at):
    batches = take(30)
    rest = take(30 - at, batches[at - 1].after if at else None)
    for a, b in zip(batches[at:], rest, strict=True):
        assert a.texts == b.texts
        assert a.after == b.after
        assert np.array_equal(a.pictures, b.pictures)


def test_a_second_pass_has_the_same_samples_in_another_order():
    texts = [text for batch in take(150) for text in batch.texts]
    first, second = texts[:96], texts[96:192]
    assert sorted(first) == sorted(second)
    assert first != second


def test_without_a_cycle_nothing_comes_twice():
    texts = [text for batch in take(60, order=BatchConfig(pixels=8 * 40 * 64)) for text in batch.texts]
    assert len(texts) == len(set(texts)) > 64


@settings(max_examples=20, deadline=None)
@given(repeats=st.integers(1, 4), spacing=st.integers(1, 5))
def test_each_chunk_is_used_as_often_as_asked_and_so_far_apart(repeats, spacing):
    config, at, order = BatchConfig(repeats=repeats, spacing=spacing), StreamPosition(), []
    for _ in range(120):
        order.append(at)
        at = config.find_next(at)
    new = [at.chunk for at in order if at.sweep == 0]
    assert new == list(range(len(new)))
    for chunk in range(len(new) - repeats * spacing):
        uses = [i for i, at in enumerate(order) if at.chunk == chunk]
        assert [order[i].sweep for i in uses] == list(range(repeats))
        drawn = [sum(at.sweep == 0 for at in order[: i + 1]) - 1 for i in uses]
        assert drawn == [chunk + use * spacing for use in range(repeats)]


def test_a_position_past_the_end_of_its_chunk_goes_on_with_the_next():
    assert take(1, StreamPosition(0, 0, 10_000))[0].texts == take(1, StreamPosition(0, 1, 0))[0].texts


def test_prefetch_gives_the_same_items_and_raises_what_was_raised():
    def items():
        yield from range(10)
        raise ValueError("the end")

    got = []
    with pytest.raises(ValueError, match="the end"):
        got.extend(prefetch(items(), 2))
    assert got == list(range(10))


def test_prefetch_runs_no_further_ahead_than_its_depth_and_ends_when_closed():
    drawn = []
    stream = prefetch(iter(lambda: drawn.append(0) or len(drawn), None), 3)
    assert next(stream) == 1
    stream.close()
    assert len(drawn) <= 6


def test_what_a_prefetch_draws_from_may_be_closed_after_it():
    begun = Event()

    def draw_slowly():
        yield 0
        begun.set()
        time.sleep(1.2)  # longer than closing waits unless it is told to
        yield 1

    items = draw_slowly()
    stream = prefetch(items, 1, patience=None)
    assert next(stream) == 0
    assert begun.wait(60)
    stream.close()
    items.close()


def test_batches_of_a_number_of_crops_have_that_number_and_take_each_crop_once():
    widths = np.array([32, 48, 640, 32, 64, 320, 48, 96, 32, 32], np.int64)
    chunk = Chunk(8, widths, np.zeros(int(widths.sum()) * 8, np.uint8), tuple("a" * len(widths)))
    batches = make_batches(chunk, BatchConfig(crops=4, pixels=1), 0, 0)
    assert sorted(map(len, batches)) == [2, 4, 4]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(widths)))
