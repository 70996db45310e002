"""Batches from chunks: alike widths together, a fixed budget of pixels, in an order that a position names.

``Position(sweep, chunk, batch)`` is the whole state of the stream: whoever starts at a position sees
exactly the batches that whoever came there step by step would have seen.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.chunk_cache import Chunk
from nhin.data.images.workers import ChunkLoader
from nhin.image.preprocess import HEIGHT

BATCH_PIXELS = 128 * HEIGHT * 64
_MIN_WIDTH_SHARE = 0.8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Which batch of the stream comes next: pass over the chunks, chunk, batch in the chunk."""

    sweep: int = 0
    chunk: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """Crops of about one width: ``pictures`` is batch x height x width; ``after`` is what comes next."""

    pictures: NDArray[np.uint8]
    texts: list[str]
    after: StreamPosition


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How chunks become batches.

    ``pixels`` is the budget of a batch: narrow crops come in larger batches than wide ones. ``cycle``
    is how many chunks make a pass, 0 for an endless stream. ``jitter`` scales the light, cheap
    distortion that makes a chunk's second use differ from its first; 0 is none.
    """

    seed: int = 0
    pixels: int = BATCH_PIXELS
    cycle: int = 0
    jitter: float = 1.0


def make_batches(chunk: Chunk, config: BatchConfig, sweep: int, number: int) -> list[NDArray[np.int64]]:
    """Return the indices of each batch of a chunk, the order of batches drawn from the position."""
    rng = np.random.default_rng([config.seed, sweep, number])
    shuffled = rng.permutation(len(chunk))
    widest_first = shuffled[np.argsort(-chunk.widths[shuffled], kind="stable")]
    batches = []
    first = 0
    while first < len(widest_first):
        width = chunk.widths[widest_first[first]]
        room = max(1, config.pixels // (chunk.height * int(width)))
        taken = widest_first[first : first + room]
        # Rare widths would each leave a tiny, noisy batch: nearly as wide ones are padded to join it.
        taken = taken[chunk.widths[taken] >= _MIN_WIDTH_SHARE * width]
        batches.append(taken)
        first += len(taken)
    return [batches[i] for i in rng.permutation(len(batches))]


def collate(chunk: Chunk, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Stack some pictures of a chunk, the narrower ones continued to the right in their own border grey."""
    widths, starts = chunk.widths[indices], chunk.starts()[indices]
    out = np.empty((len(indices), chunk.height, int(widths.max())), np.uint8)
    for row, (width, start) in enumerate(zip(widths, starts, strict=True)):
        picture = chunk.pixels[start : start + width * chunk.height].reshape(chunk.height, width)
        out[row, :, :width] = picture
        if width < out.shape[2]:
            out[row, :, width:] = np.median(picture[:, -1])
    return out


def augment(
    pictures: NDArray[np.uint8], rng: np.random.Generator, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Move, recolour, invert and roughen a batch, a little and cheaply; each picture in its own way.

    Args:
        pictures: batch x height x width.
        rng: Decides everything.
        strength: Scales the chances and the sizes; 0 changes nothing.
    """
    if not strength:
        return pictures
    count, height, width = pictures.shape
    each = (count, 1, 1)
    down = rng.integers(-2, 3, each) * (rng.random(each) < 0.5 * strength)
    right = rng.integers(-2, 3, each) * (rng.random(each) < 0.5 * strength)
    rows = np.clip(np.arange(height)[None, :, None] + down, 0, height - 1)
    columns = np.clip(np.arange(width)[None, None, :] + right, 0, width - 1)
    moved = pictures[np.arange(count)[:, None, None], rows, columns].astype(np.float32)
    gain = 1 - 0.4 * strength * rng.random(each, np.float32) * (rng.random(each) < 0.4)
    gain = np.where(rng.random(each) < 0.15 * min(1.0, strength), -gain, gain).astype(np.float32)
    offset = 20 * strength * (rng.random(each, np.float32) - 0.5)
    out = (moved - 127.5) * gain + (127.5 + offset)
    noisy = np.flatnonzero(rng.random(count) < 0.3 * strength)
    noise = rng.standard_normal((len(noisy), height, width), np.float32)
    out[noisy] += noise * (12 * strength * rng.random((len(noisy), 1, 1), np.float32))
    return np.clip(out, 0, 255).astype(np.uint8)


def iter_batches(
    loader: ChunkLoader, config: BatchConfig, start: StreamPosition | None = None
) -> Iterator[PictureBatch]:
    """Yield batches for ever, from a position on; passes differ in shuffling and distortion."""
    at = start or StreamPosition()
    while True:
        chunk = loader.get(at.chunk, _next_chunks(at.chunk, loader.prefetch, config.cycle))
        parts = make_batches(chunk, config, at.sweep, at.chunk)
        for number in range(at.batch, len(parts)):
            rng = np.random.default_rng([config.seed, at.sweep, at.chunk, number, 1])
            pictures = augment(collate(chunk, parts[number]), rng, config.jitter)
            last = number + 1 == len(parts)
            after = (
                _next_chunk_position(at, config.cycle)
                if last
                else StreamPosition(at.sweep, at.chunk, number + 1)
            )
            yield PictureBatch(pictures, [chunk.texts[i] for i in parts[number]], after)
        at = _next_chunk_position(at, config.cycle)


def _next_chunk_position(position: StreamPosition, cycle: int) -> StreamPosition:
    """Return where the next chunk begins; after the last one of a pass, the next pass."""
    if cycle and position.chunk + 1 >= cycle:
        return StreamPosition(position.sweep + 1, 0, 0)
    return StreamPosition(position.sweep, position.chunk + 1, 0)


def _next_chunks(chunk: int, count: int, cycle: int) -> tuple[int, ...]:
    """Return the numbers of the next chunks, once each."""
    numbers = (chunk + i for i in range(1, count + 1))
    return tuple(dict.fromkeys(n % cycle if cycle else n for n in numbers))


def prefetch(items: Iterator[T], depth: int = 4) -> Generator[T, None, None]:
    """Draw items in a background thread, at most ``depth`` ahead; what it raises is raised here."""
    waiting: queue.Queue[tuple[bool, object]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[bool, object]) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                waiting.put(entry, timeout=0.2)
                return

    def work() -> None:
        try:
            for item in items:
                put((True, item))
                if stop.is_set():
                    return
            put((False, None))
        except BaseException as why:  # noqa: BLE001 - carried to the thread that asked, whatever it is
            put((False, why))

    thread = threading.Thread(target=work, daemon=True, name="prefetch")
    thread.start()
    try:
        while True:
            good, value = waiting.get()
            if not good:
                if isinstance(value, BaseException):
                    raise value
                return
            yield value  # type: ignore[misc]
    finally:
        stop.set()
        thread.join(timeout=1.0)
