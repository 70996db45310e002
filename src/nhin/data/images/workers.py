"""An endless stream of chunks, drawn ahead of their use by worker processes.

Fill a cache before training, on one core, at low priority::

    from nhin.data.images.workers import prerender
    prerender(Synth(fonts=..., seed=7), "runs/cache", chunks=64, workers=1)
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from nhin.data.images.chunk_cache import (
    CHUNK_SIZE,
    Chunk,
    ChunkCache,
    SampleSource,
    load_or_render,
    open_cache,
)
from nhin.errors import DataError
from nhin.image.preprocess import HEIGHT

_NICE = 10
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_worker_state: dict[str, tuple[SampleSource, int, int, ChunkCache | None]] = {}


def _init_worker(source: SampleSource, size: int, height: int, cache: ChunkCache | None) -> None:
    """Set a worker up: low priority, one thread, deaf to Ctrl-C, and an end when its parent ends."""
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.nice(_NICE)
    with suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
    _worker_state["job"] = (source, size, height, cache)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A pool's worker waits for ever on a queue whose owner was killed.
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _render_in_worker(number: int) -> Chunk | None:
    """Draw one chunk in a worker; with a shelf it goes there, not through the pipe."""
    source, size, height, shelf = _worker_state["job"]
    chunk = load_or_render(source, number, size, height, shelf)
    return chunk if shelf is None else None


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Let processes started inside inherit one thread each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class ChunkLoader:
    """A source's chunks by number, drawn ahead of their use by worker processes.

    Use as a context manager, or call ``close``.
    """

    def __init__(
        self,
        source: SampleSource,
        *,
        size: int = CHUNK_SIZE,
        height: int = HEIGHT,
        cache: Path | str | None = None,
        workers: int = 1,
        prefetch: int = 2,
    ) -> None:
        """Keep the settings; no process starts before the first chunk is asked for.

        Args:
            source: Must be picklable when ``workers`` is not 0.
            size: Samples in a chunk.
            height: Of the fitted pictures, in pixels.
            cache: Folder for chunks; None draws every chunk anew.
            workers: Processes; 0 draws in the calling thread.
            prefetch: Chunks drawn before they are asked for.
        """
        self.source, self.size, self.height = source, size, height
        self.chunk_cache = None if cache is None else open_cache(source, cache, size, height)
        self.workers, self.prefetch = workers, prefetch
        self._pool: ProcessPoolExecutor | None = None
        self._pending: dict[int, Future[Chunk | None]] = {}

    def get(self, number: int, upcoming: tuple[int, ...] = ()) -> Chunk:
        """Return one chunk, and have those numbered ``upcoming`` drawn in the meantime."""
        if self.workers:
            for wanted in (number, *upcoming[: self.prefetch]):
                self._submit(wanted)
        coming = self._pending.pop(number, None)
        try:
            chunk = coming.result() if coming else None
        except BrokenProcessPool as why:
            raise DataError("a worker that draws samples was killed (out of memory?)") from why
        return chunk or load_or_render(self.source, number, self.size, self.height, self.chunk_cache)

    def _submit(self, number: int) -> None:
        """Have a worker draw one chunk, unless it is on the shelf or already ordered."""
        if number in self._pending or (self.chunk_cache and self.chunk_cache.path(number).exists()):
            return
        with _single_threaded():
            self._pending[number] = self._get_pool().submit(_render_in_worker, number)

    def _get_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = _start_pool(self.workers, self.source, self.size, self.height, self.chunk_cache)
        return self._pool

    def close(self) -> None:
        """Stop the workers."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._pending.clear()

    def __enter__(self) -> "ChunkLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _start_pool(workers: int, *job: Any) -> ProcessPoolExecutor:
    """Start a pool of clean processes: spawned, so nothing of the parent (torch, locks) comes along."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _init_worker, job)  # type: ignore[arg-type] # pyright: ignore


def fill_cache(
    source: SampleSource,
    cache: Path | str,
    chunks: int,
    workers: int = 1,
    *,
    size: int = CHUNK_SIZE,
    height: int = HEIGHT,
) -> int:
    """Fill a cache with the first ``chunks`` chunks, in order; those already there are left.

    Safe to interrupt, to repeat, and to run beside a training that uses the same cache.

    Args:
        source: As for training; picklable when ``workers`` is not 0.
        cache: Folder; the chunks go into a folder inside it named by the source's fingerprint.
        chunks: How many.
        workers: Processes at low priority; 0 draws in this one.
        size: Samples in a chunk.
        height: Of the fitted pictures, in pixels.

    Returns:
        How many chunks were missing and are now drawn.
    """
    shelf = open_cache(source, cache, size, height)
    missing = [k for k in range(chunks) if not shelf.path(k).exists()]
    if not workers:
        for number in missing:
            load_or_render(source, number, size, height, shelf)
        return len(missing)
    with _single_threaded(), _start_pool(workers, source, size, height, shelf) as pool:
        try:
            for done in as_completed([pool.submit(_render_in_worker, number) for number in missing]):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(missing)
