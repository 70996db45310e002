"""Batches of crops of similar width, with a fixed budget of pixels, resumable at any position.

``StreamPosition`` is the whole state of the stream: the batches from a position on are the same whether
training started there or arrived there step by step.
"""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.chunk_cache import Chunk
from nhin.data.images.workers import ChunkLoader
from nhin.image.preprocess import HEIGHT, WIDTH_BUCKET
from nhin.ranges import Range

BATCH_PIXELS = 128 * HEIGHT * 64
_MIN_WIDTH_SHARE = 0.8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """The next batch of the stream: how often the chunk was used before, chunk, batch in the chunk."""

    sweep: Annotated[int, Range(0, 2**62)] = 0
    chunk: Annotated[int, Range(0, 2**40)] = 0
    batch: Annotated[int, Range(0, 2**40)] = 0


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """Crops of similar width, batch x height x width; ``after`` is the position of the next batch."""

    pictures: NDArray[np.uint8]
    texts: list[str]
    after: StreamPosition


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How to make batches of chunks.

    ``pixels`` is the budget of a batch: narrow crops come in larger batches than wide ones. ``cycle`` is
    the number of chunks in a pass, 0 for an endless stream. Each chunk is used ``repeats`` times: again after
    ``spacing`` new chunks, after twice as many, and so on, so that reading need not wait for drawing.
    ``crops`` is the size of every batch, instead of ``pixels``; only the last of a chunk may be smaller.
    ``fixed_shapes`` makes batches of a few dozen shapes only, since a GPU prepares for each new one.
    """

    seed: int = 0
    pixels: int = BATCH_PIXELS
    cycle: int = 0
    repeats: int = 1
    spacing: int = 8
    fixed_shapes: bool = False
    crops: int = 0

    def find_next(self, at: StreamPosition) -> StreamPosition:
        """Return the chunk after one: an older chunk again, or a new one."""
        if self.cycle:
            ends_pass = at.chunk + 1 >= self.cycle
            return StreamPosition(at.sweep + 1) if ends_pass else StreamPosition(at.sweep, at.chunk + 1)
        if at.sweep + 1 < self.repeats and at.chunk >= self.spacing:
            return StreamPosition(at.sweep + 1, at.chunk - self.spacing)
        return StreamPosition(0, at.chunk + at.sweep * self.spacing + 1)


def round_width(width: int) -> int:
    """Round a width up to one of four widths between two powers of two, or to ``WIDTH_BUCKET``."""
    step = max(WIDTH_BUCKET, 1 << max(0, (width - 1).bit_length() - 3))
    return -(-width // step) * step


def make_batches(chunk: Chunk, config: BatchConfig, sweep: int, number: int) -> list[NDArray[np.int64]]:
    """Return the indices of the crops in each batch of a chunk, batches in random order.

    With fixed shapes the last batch of a chunk takes some of its crops twice.
    """
    rng = np.random.default_rng([config.seed, sweep, number])
    shuffled = rng.permutation(len(chunk))
    widest_first = shuffled[np.argsort(-chunk.widths[shuffled], kind="stable")]
    batches, first = [], 0
    while first < len(widest_first):
        width = int(chunk.widths[widest_first[first]])
        padded_width = round_width(width) if config.fixed_shapes else width
        size = config.crops or max(1, config.pixels // (chunk.height * padded_width))
        batch = widest_first[first : first + size]
        if not (config.fixed_shapes or config.crops):
            # Crops nearly as wide are padded to join: batches of one rare width would be tiny and noisy.
            batch = batch[chunk.widths[batch] >= _MIN_WIDTH_SHARE * width]
        first += len(batch)
        while config.fixed_shapes and size > 2 * len(batch):
            size //= 2
        again = rng.choice(batch, size - len(batch)) if config.fixed_shapes else batch[:0]
        batches.append(np.concatenate([batch, again]))
    return [batches[i] for i in rng.permutation(len(batches))]


def collate(chunk: Chunk, indices: NDArray[np.int64], fixed_shapes: bool = False) -> NDArray[np.uint8]:
    """Stack pictures of a chunk, padded on the right with the gray of their last column."""
    widths, starts = chunk.widths[indices], chunk.starts()[indices]
    width = int(widths.max())
    out = np.empty((len(indices), chunk.height, round_width(width) if fixed_shapes else width), np.uint8)
    edges = np.empty((len(indices), chunk.height), np.uint8)
    for row, (wide, start) in enumerate(zip(widths, starts, strict=True)):
        picture = chunk.pixels[start : start + wide * chunk.height].reshape(chunk.height, wide)
        out[row, :, :wide], edges[row] = picture, picture[:, -1]
    grays = np.median(edges, axis=1).astype(np.uint8)
    for row in np.flatnonzero(widths < out.shape[2]):
        out[row, :, widths[row] :] = grays[row]
    return out


def iter_batches(
    loader: ChunkLoader, config: BatchConfig, start: StreamPosition | None = None
) -> Iterator[PictureBatch]:
    """Yield batches forever from a position on; each use of a chunk is shuffled differently."""
    at = start or StreamPosition()
    while True:
        chunk = loader.get(at.chunk, _list_upcoming(at, loader.prefetch, config))
        batches = make_batches(chunk, config, at.sweep, at.chunk)
        next_chunk = config.find_next(at)
        for number in range(at.batch, len(batches)):
            pictures = collate(chunk, batches[number], config.fixed_shapes)
            last = number + 1 == len(batches)
            after = next_chunk if last else StreamPosition(at.sweep, at.chunk, number + 1)
            yield PictureBatch(pictures, [chunk.texts[i] for i in batches[number]], after)
        at = next_chunk


def _list_upcoming(at: StreamPosition, count: int, config: BatchConfig) -> tuple[int, ...]:
    """Return the numbers of the chunks that are read or drawn next, each once."""
    numbers: dict[int, None] = {}
    for _ in range(count * (1 if config.cycle else config.repeats)):
        at = config.find_next(at)
        numbers[at.chunk] = None
    return tuple(numbers)


def prefetch(items: Iterator[T], depth: int = 4, patience: float | None = 1.0) -> Generator[T, None, None]:
    """Draw items in a background thread, at most ``depth`` ahead, and raise what it raises.

    Args:
        items: What to draw.
        depth: The most items that wait.
        patience: Seconds that closing waits for the item that is being drawn; None waits until it is drawn,
            after which ``items`` may be closed.
    """
    end = object()
    pool = ThreadPoolExecutor(1, "prefetch")
    pending = deque(pool.submit(next, items, end) for _ in range(depth))
    try:
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc] # pyright: ignore[reportReturnType]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in pending if not future.cancelled()], timeout=patience)
