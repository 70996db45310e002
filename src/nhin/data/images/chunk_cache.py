"""Chunks of fitted samples: drawn from a source, and kept on a shelf on disk.

A source is anything with ``sample(index)``, deterministic in the index. Chunk k holds its samples
k*size to (k+1)*size - 1, already fitted to what the network sees. A shelf is a folder with one file a
chunk, under the fingerprint of the source that drew them; a torn file is drawn again. Any number of
processes may fill and read one shelf at the same time: whoever holds a chunk's lock draws it.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nhin.errors import DataError, UsageError
from nhin.image.preprocess import HEIGHT, preprocess_crop

CHUNK_SIZE = 4096


@runtime_checkable
class LabeledPicture(Protocol):
    """One labelled picture: ``picture`` is height x width x 3 RGB (or height x width grey), uint8."""

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The picture."""
        ...

    @property
    def text(self) -> str:
        """What stands in it."""
        ...


@runtime_checkable
class SampleSource(Protocol):
    """Anything that draws sample number ``index``, the same one every time it is asked."""

    def sample(self, index: int) -> LabeledPicture:
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


def render_chunk(source: SampleSource, number: int, size: int = CHUNK_SIZE, height: int = HEIGHT) -> Chunk:
    """Draw and fit one chunk, in this process."""
    samples = [source.sample(i) for i in range(number * size, (number + 1) * size)]
    fitted = [preprocess_crop(sample.picture, height) for sample in samples]
    return Chunk(
        height=height,
        widths=np.array([picture.shape[1] for picture in fitted], np.int64),
        pixels=np.concatenate([picture.reshape(-1) for picture in fitted]),
        texts=tuple(" ".join(sample.text.split("\n")) for sample in samples),
    )


def fingerprint(source: SampleSource, size: int = CHUNK_SIZE, height: int = HEIGHT) -> str:
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
class ChunkCache:
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
    def lock(self, number: int) -> Iterator[None]:
        """Hold one chunk's lock, so that two processes never draw the same chunk; freed by death."""
        try:
            import fcntl
        except ImportError:  # Without file locks two processes may both draw it; the result is the same.
            yield
            return
        with self.path(number).with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def open_cache(
    source: SampleSource, cache: Path | str, size: int = CHUNK_SIZE, height: int = HEIGHT
) -> ChunkCache:
    """Return (and make) the place of this source's chunks inside a cache folder."""
    folder = Path(cache) / fingerprint(source, size, height)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise DataError(f"cannot make the cache {folder}: {why.strerror or why}") from why
    return ChunkCache(folder)


def load_or_render(
    source: SampleSource, number: int, size: int, height: int, cache: ChunkCache | None
) -> Chunk:
    """Return one chunk: from the shelf when it stands there, otherwise drawn and put there."""
    if cache is None:
        return render_chunk(source, number, size, height)
    chunk = cache.load(number)
    if chunk is not None:
        return chunk
    with cache.lock(number):
        chunk = cache.load(number)
        if chunk is None:
            chunk = render_chunk(source, number, size, height)
            cache.save(number, chunk)
    return chunk
