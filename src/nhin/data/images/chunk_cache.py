"""Chunks of preprocessed samples, rendered from a source and cached on disk.

A source is anything with ``sample(index)``, deterministic in the index. Chunk k holds its samples
k*size to (k+1)*size - 1, preprocessed for the network. A cache is a folder with one file per chunk, named
by the fingerprint of the source; a damaged file is rendered again. Any number of processes may fill and
read a cache at the same time: a chunk is rendered under its lock.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nhin.errors import DataError, UsageError
from nhin.files import explain_os_error, lock_file, write_atomic
from nhin.image.preprocess import HEIGHT, preprocess_crop

CHUNK_SIZE = 4096


@runtime_checkable
class LabeledPicture(Protocol):
    """One labeled picture: ``picture`` is height x width x 3 RGB (or height x width gray), uint8."""

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The picture."""
        ...

    @property
    def text(self) -> str:
        """Its label."""
        ...


@runtime_checkable
class SampleSource(Protocol):
    """Anything that renders sample number ``index``, the same one at every call."""

    def sample(self, index: int) -> LabeledPicture:
        """Render one sample."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Preprocessed samples: ``pixels`` holds all pictures in turn, each ``height`` x its width."""

    height: int
    widths: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def starts(self) -> NDArray[np.int64]:
        """Return where each picture begins in ``pixels``."""
        return (np.cumsum(self.widths) - self.widths) * self.height


def render_chunk(source: SampleSource, number: int, size: int = CHUNK_SIZE, height: int = HEIGHT) -> Chunk:
    """Render and preprocess one chunk, in this process."""
    samples = [source.sample(i) for i in range(number * size, (number + 1) * size)]
    pictures = [preprocess_crop(sample.picture, height) for sample in samples]
    return Chunk(
        height=height,
        widths=np.array([picture.shape[1] for picture in pictures], np.int64),
        pixels=np.concatenate([picture.reshape(-1) for picture in pictures]),
        texts=tuple(" ".join(sample.text.split("\n")) for sample in samples),
    )


def fingerprint(source: SampleSource, size: int = CHUNK_SIZE, height: int = HEIGHT) -> str:
    """Hash the source's own ``fingerprint``, or its repr if it has none, and the settings.

    Raises:
        UsageError: The source has neither a fingerprint nor a stable repr.
    """
    own = getattr(source, "fingerprint", None)
    own = own() if callable(own) else own
    name = own if isinstance(own, str) else repr(source)
    if " at 0x" in name:
        raise UsageError(f"{type(source).__name__} needs a `fingerprint` before its samples can be cached")
    return hashlib.sha256(f"{name}|{size}|{height}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ChunkCache:
    """The folder of one source's chunks."""

    folder: Path

    def path(self, number: int) -> Path:
        """Return the file of one chunk."""
        return self.folder / f"chunk-{number:06d}.npz"

    def load(self, number: int) -> Chunk | None:
        """Read one chunk; None if it is missing or damaged."""
        path = self.path(number)
        try:
            # All bytes at once: an archive that is read lazily could be replaced meanwhile.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
                texts = tuple(bytes(data["texts"]).decode().split("\n"))
                chunk = Chunk(int(data["height"]), data["widths"], data["pixels"], texts)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        is_intact = len(texts) == len(chunk.widths) and chunk.pixels.size == chunk.widths.sum() * chunk.height
        return chunk if is_intact else None

    def save(self, number: int, chunk: Chunk) -> None:
        """Write one chunk."""
        out, texts = io.BytesIO(), np.frombuffer("\n".join(chunk.texts).encode(), np.uint8)
        np.savez(out, height=chunk.height, widths=chunk.widths, pixels=chunk.pixels, texts=texts)
        write_atomic(self.path(number), out.getvalue(), DataError)


def open_cache(
    source: SampleSource, cache: Path | str, size: int = CHUNK_SIZE, height: int = HEIGHT
) -> ChunkCache:
    """Make the folder of this source's chunks inside a cache folder."""
    folder = Path(cache) / fingerprint(source, size, height)
    with explain_os_error(f"make the cache {folder}", DataError):
        folder.mkdir(parents=True, exist_ok=True)
    return ChunkCache(folder)


def load_or_render(
    source: SampleSource, number: int, size: int, height: int, cache: ChunkCache | None
) -> Chunk:
    """Return one chunk: from the cache if it is there, otherwise rendered and cached."""
    if cache is None:
        return render_chunk(source, number, size, height)
    if chunk := cache.load(number):
        return chunk
    with lock_file(cache.path(number).with_suffix(".lock"), DataError):
        chunk = cache.load(number)
        if chunk is None:
            chunk = render_chunk(source, number, size, height)
            cache.save(number, chunk)
    return chunk
