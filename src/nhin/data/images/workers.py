"""Worker processes that render chunks ahead of their use.

Fill a cache before training, on one core, at low priority::

    from nhin.data.images.workers import fill_cache
    fill_cache(SyntheticSource(fonts=..., seed=7), "runs/cache", chunks=64, workers=1)
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
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
    """Set a worker up: low priority, one thread, no reaction to Ctrl-C, and exit with its parent."""
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
        # Without this, a worker waits forever on the queue of a parent that was killed.
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _render_in_worker(number: int) -> Chunk | None:
    """Render one chunk in a worker; with a cache it is read from there, not sent through the pipe."""
    source, size, height, cache = _worker_state["job"]
    chunk = load_or_render(source, number, size, height, cache)
    return chunk if cache is None else None


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Start processes with one thread each, by environment variables."""
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
    """The chunks of a source by number, rendered ahead by worker processes; a context manager.

    No process starts before the first chunk is needed.

    Args:
        source: Must be picklable unless ``workers`` is 0.
        size: Samples in a chunk.
        height: Of the preprocessed pictures, in pixels.
        cache: Folder for chunks; without it every chunk is rendered each time.
        workers: Processes; 0 renders in the calling thread.
        prefetch: Chunks rendered ahead.
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
        self.source, self.size, self.height = source, size, height
        self.chunk_cache = None if cache is None else open_cache(source, cache, size, height)
        self.workers, self.prefetch = workers, prefetch
        self._pool: ProcessPoolExecutor | None = None
        self._pending: dict[int, Future[Chunk | None]] = {}

    def get(self, number: int, upcoming: tuple[int, ...] = ()) -> Chunk:
        """Return one chunk, and have the ``upcoming`` ones rendered meanwhile."""
        if self.workers:
            for ahead in (number, *upcoming):
                self._submit(ahead)
        future = self._pending.pop(number, None)
        try:
            chunk = future.result() if future else None
        except BrokenProcessPool as why:
            raise DataError("a worker that renders samples was killed (out of memory?)") from why
        return chunk or load_or_render(self.source, number, self.size, self.height, self.chunk_cache)

    def _submit(self, number: int) -> None:
        """Have a worker render one chunk, unless it is cached or already pending."""
        if number in self._pending or (self.chunk_cache and self.chunk_cache.path(number).exists()):
            return
        if self._pool is None:
            self._pool = _start_pool(self.workers, self.source, self.size, self.height, self.chunk_cache)
        with _single_threaded():
            self._pending[number] = self._pool.submit(_render_in_worker, number)

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
    """Start a pool of spawned processes, which inherit nothing of the parent (torch, locks)."""
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
    """Render the first ``chunks`` chunks into a cache; return how many were missing.

    Chunks already there are kept. Safe to interrupt, to repeat, and to run beside a training that uses the
    same cache. The other arguments are those of ``ChunkLoader``.
    """
    with ChunkLoader(source, size=size, height=height, cache=cache, workers=workers) as loader:
        assert loader.chunk_cache is not None
        path = loader.chunk_cache.path
        missing = [number for number in range(chunks) if not path(number).exists()]
        loader.prefetch = 2 * workers
        for i, number in enumerate(missing):
            loader.get(number, tuple(missing[i + 1 : i + 1 + loader.prefetch]))
    return len(missing)
