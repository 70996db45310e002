"""An endless stream of samples, rendered ahead in chunks by worker processes and kept on disk.

A source is anything with ``sample(index)``, deterministic in the index. Chunk k holds its samples
k*size to (k+1)*size - 1, already fitted to what the network sees. A cache is a folder with one file a
chunk, under the fingerprint of the source that drew them; a torn file is drawn again. Any number of
processes may fill and read one cache at the same time: whoever holds a chunk's lock draws it.

Fill a cache before training, on one core, at low priority::

    from nhin.data.stream import prerender
    prerender(Synth(fonts=..., seed=7), "runs/cache", chunks=64, workers=1)
"""

import hashlib
import io
import multiprocessing
import os
import signal
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nhin.errors import DataError, UsageError
from nhin.image.fit import HEIGHT, fit

SIZE = 4096
_NICE = 10
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Sampled(Protocol):
    """One labelled picture: ``picture`` is height x width x 3 RGB (or height x width grey), uint8."""

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The picture."""
        ...

    @property
    def text(self) -> str:
        """What stands in it."""
        ...


class Source(Protocol):
    """Anything that draws sample number ``index``, the same one every time it is asked."""

    def sample(self, index: int) -> Sampled:
        """Draw one sample."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Fitted samples: ``pixels`` is all pictures one after the other, each ``height`` x its width."""

    height: int
    widths: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.texts)

    def starts(self) -> NDArray[np.int64]:
        """Return where each picture begins in ``pixels``."""
        ends = np.cumsum(self.widths) * self.height
        return np.concatenate([np.zeros(1, np.int64), ends[:-1]])


def draw(source: Source, number: int, size: int = SIZE, height: int = HEIGHT) -> Chunk:
    """Draw and fit one chunk, in this process."""
    samples = [source.sample(i) for i in range(number * size, (number + 1) * size)]
    fitted = [fit(sample.picture, height) for sample in samples]
    return Chunk(
        height=height,
        widths=np.array([picture.shape[1] for picture in fitted], np.int64),
        pixels=np.concatenate([picture.reshape(-1) for picture in fitted]),
        texts=tuple(" ".join(sample.text.split("\n")) for sample in samples),
    )


def fingerprint(source: Source, size: int = SIZE, height: int = HEIGHT) -> str:
    """Name what a cache holds: the source's own ``fingerprint`` if it has one, otherwise its repr.

    Raises:
        UsageError: The source says nothing stable about itself.
    """
    said = getattr(source, "fingerprint", None)
    said = said() if callable(said) else said
    words = said if isinstance(said, str) else repr(source)
    if " at 0x" in words:
        raise UsageError(f"{type(source).__name__} needs a `fingerprint` before its samples can be cached")
    return hashlib.sha256(f"{words}|{size}|{height}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where one source's chunks stand on disk."""

    folder: Path

    def path(self, number: int) -> Path:
        """Return the file of one chunk."""
        return self.folder / f"chunk-{number:06d}.npz"

    def load(self, number: int) -> Chunk | None:
        """Read one chunk; None where it is missing or torn."""
        path = self.path(number)
        try:
            # Read whole first: a lazily opened archive could be replaced half-way through.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
                texts = tuple(bytes(data["texts"]).decode().split("\n"))
                chunk = Chunk(int(data["height"]), data["widths"], data["pixels"], texts)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        whole = len(texts) == len(chunk.widths) and chunk.pixels.size == chunk.widths.sum() * chunk.height
        return chunk if whole else None

    def save(self, number: int, chunk: Chunk) -> None:
        """Write one chunk beside its place and rename it there."""
        path = self.path(number)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        texts = np.frombuffer("\n".join(chunk.texts).encode(), np.uint8)
        try:
            with beside.open("wb") as file:
                np.savez(file, height=chunk.height, widths=chunk.widths, pixels=chunk.pixels, texts=texts)
            beside.replace(path)
        except OSError as why:
            raise DataError(f"cannot keep a chunk in {path.parent}: {why.strerror or why}") from why
        finally:
            beside.unlink(missing_ok=True)

    @contextmanager
    def claim(self, number: int) -> Iterator[None]:
        """Hold one chunk's lock, so that two processes never draw the same chunk; freed by death."""
        try:
            import fcntl
        except ImportError:  # Without file locks two processes may both draw it; the result is the same.
            yield
            return
        with self.path(number).with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def open_shelf(source: Source, cache: Path | str, size: int = SIZE, height: int = HEIGHT) -> Shelf:
    """Return (and make) the place of this source's chunks inside a cache folder."""
    folder = Path(cache) / fingerprint(source, size, height)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise DataError(f"cannot make the cache {folder}: {why.strerror or why}") from why
    return Shelf(folder)


def fetch(source: Source, number: int, size: int, height: int, shelf: Shelf | None) -> Chunk:
    """Return one chunk: from the shelf when it stands there, otherwise drawn and put there."""
    if shelf is None:
        return draw(source, number, size, height)
    chunk = shelf.load(number)
    if chunk is not None:
        return chunk
    with shelf.claim(number):
        chunk = shelf.load(number)
        if chunk is None:
            chunk = draw(source, number, size, height)
            shelf.save(number, chunk)
    return chunk


_at_work: dict[str, tuple[Source, int, int, Shelf | None]] = {}


def _begin(source: Source, size: int, height: int, shelf: Shelf | None) -> None:
    """Set a worker up: low priority, one thread, deaf to Ctrl-C, and an end when its parent ends."""
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.nice(_NICE)
    with suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
    _at_work["job"] = (source, size, height, shelf)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A pool's worker waits for ever on a queue whose owner was killed.
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _work(number: int) -> Chunk | None:
    """Draw one chunk in a worker; with a shelf it goes there, not through the pipe."""
    source, size, height, shelf = _at_work["job"]
    chunk = fetch(source, number, size, height, shelf)
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


class Chunks:
    """A source's chunks by number, drawn ahead of their use by worker processes.

    Use as a context manager, or call ``close``.
    """

    def __init__(
        self,
        source: Source,
        *,
        size: int = SIZE,
        height: int = HEIGHT,
        cache: Path | str | None = None,
        workers: int = 1,
        ahead: int = 2,
    ) -> None:
        """Keep the settings; no process starts before the first chunk is asked for.

        Args:
            source: Must be picklable when ``workers`` is not 0.
            size: Samples in a chunk.
            height: Of the fitted pictures, in pixels.
            cache: Folder for chunks; None draws every chunk anew.
            workers: Processes; 0 draws in the calling thread.
            ahead: Chunks drawn before they are asked for.
        """
        self.source, self.size, self.height = source, size, height
        self.shelf = None if cache is None else open_shelf(source, cache, size, height)
        self.workers, self.ahead = workers, ahead
        self._pool: ProcessPoolExecutor | None = None
        self._coming: dict[int, Future[Chunk | None]] = {}

    def get(self, number: int, then: tuple[int, ...] = ()) -> Chunk:
        """Return one chunk, and have those numbered ``then`` drawn in the meantime."""
        if self.workers:
            for wanted in (number, *then[: self.ahead]):
                self._order(wanted)
        coming = self._coming.pop(number, None)
        try:
            chunk = coming.result() if coming else None
        except BrokenProcessPool as why:
            raise DataError("a worker that draws samples was killed (out of memory?)") from why
        return chunk or fetch(self.source, number, self.size, self.height, self.shelf)

    def _order(self, number: int) -> None:
        """Have a worker draw one chunk, unless it is on the shelf or already ordered."""
        if number in self._coming or (self.shelf and self.shelf.path(number).exists()):
            return
        with _single_threaded():
            self._coming[number] = self._workers().submit(_work, number)

    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = _pool(self.workers, self.source, self.size, self.height, self.shelf)
        return self._pool

    def close(self) -> None:
        """Stop the workers."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._coming.clear()

    def __enter__(self) -> "Chunks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pool(workers: int, *job: Any) -> ProcessPoolExecutor:
    """Start a pool of clean processes: spawned, so nothing of the parent (torch, locks) comes along."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _begin, job)  # type: ignore[arg-type] # pyright: ignore


def prerender(
    source: Source,
    cache: Path | str,
    chunks: int,
    workers: int = 1,
    *,
    size: int = SIZE,
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
    shelf = open_shelf(source, cache, size, height)
    missing = [k for k in range(chunks) if not shelf.path(k).exists()]
    if not workers:
        for number in missing:
            fetch(source, number, size, height, shelf)
        return len(missing)
    with _single_threaded(), _pool(workers, source, size, height, shelf) as pool:
        try:
            for done in as_completed([pool.submit(_work, number) for number in missing]):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(missing)
