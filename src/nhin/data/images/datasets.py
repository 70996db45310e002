"""Labeled crops from a folder, a label file, a zip, or VinAI's layout, and sources that sample them.

``labels.tsv`` holds ``name<TAB>text`` lines. Pictures are opened on demand, straight from a zip if they are
in one. Labels are normalized to NFC; crops without a label are left out.
"""

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.chunk_cache import LabeledPicture, SampleSource
from nhin.data.images.vintext import (
    MAX_WORDS,
    check_label,
    is_vintext,
    iter_lines,
    list_vintext_files,
    load_file,
    open_vintext,
)
from nhin.errors import DataError
from nhin.files import read_bytes
from nhin.image.augment import vary_crop
from nhin.image.load import load_picture
from nhin.text.letters import nfc

LABELS = "labels.tsv"
_MAX_PICTURE_BYTES = 64 * 2**20
_MAX_LABEL_BYTES = 64 * 2**20
_MAX_DIRECTORY_BYTES = 32 * 2**20  # of a zip: half a million files
_MAX_NAME = 1024
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others take memory without bounds
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class Crop:
    """One word or short line: its label (NFC), its name, and a function that opens its picture."""

    text: str
    name: str
    open: Callable[[], NDArray[np.uint8]] = field(repr=False)

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The picture, height x width x 3 RGB, opened at every access."""
        return self.open()


class CropDataset(tuple[Crop, ...]):
    """Labeled crops in the order of the label file; ``dropped`` counts those without a label."""

    dropped = 0

    @classmethod
    def from_crops(cls, crops: Iterable[Crop], dropped: int) -> Self:
        """Make a set of crops."""
        dataset = cls(crops)
        dataset.dropped = dropped
        return dataset


def open_crops(path: str | Path) -> CropDataset:
    """Open a set of labeled crops: a folder, TSV file, zip, or VinAI's layout (all its splits).

    Raises:
        DataError: There is nothing, no label, or a damaged file.
    """
    path = Path(path)
    if path.is_dir():
        return _open_vintext(path) if is_vintext(path) else _open_table(path / LABELS)
    if not path.is_file():
        raise DataError(f"there is no data in {path}" if not path.exists() else f"{path} is not a file")
    return _open_zip(path) if zipfile.is_zipfile(path) else _open_table(path)


def list_files(path: str | Path) -> list[Path]:
    """List the files that a set of labeled crops consists of.

    Raises:
        DataError: There is nothing, or a damaged label file.
    """
    path = Path(path)
    if path.is_dir() and is_vintext(path):
        return list_vintext_files(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return [path]
    table = path / LABELS if path.is_dir() else path
    return [table, *(table.parent / name for name in dict.fromkeys(crop.name for crop in open_crops(path)))]


def _open_table(path: Path) -> CropDataset:
    if not path.is_file():
        raise DataError(f"{path.parent} has no {LABELS} (lines of name<TAB>text), and is not VinAI's layout")
    rows = _parse_rows(read_bytes(path, _MAX_LABEL_BYTES, DataError), str(path))
    return _make_crops(rows, str(path), lambda name: partial(load_file, f"{path.parent}/{name}"))


def _open_zip(path: Path) -> CropDataset:
    """Open the crops of a zip with a label file in any folder; nothing is unpacked."""
    with _explain_zip_error(str(path)), _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
        tables = [name for name in archive.NameToInfo if name.endswith(LABELS)]
        table = min((name for name in tables if PurePosixPath(name).name == LABELS), key=len, default=None)
        if table is None:
            raise DataError(f"{path} has no {LABELS}")
        rows = _parse_rows(_read_member(archive, table, _MAX_LABEL_BYTES), f"{path}/{table}")
    folder = table.removesuffix(LABELS)
    return _make_crops(rows, str(path), lambda name: partial(_load_member, path, folder + name))


def _parse_rows(raw: bytes, name: str) -> list[tuple[str, str]]:
    rows = []
    for place, line in iter_lines(raw, name):
        picture, tab, text = line.partition("\t")
        if not tab or len(picture) > _MAX_NAME or not picture.strip().isprintable():
            raise DataError(f"{place}: expected name<TAB>text, got {line[:60]!r}")
        if len(rows) == MAX_WORDS:
            raise DataError(f"{name} has over {MAX_WORDS:,} labels, the most that are read; divide it")
        rows.append((picture.strip(), nfc(check_label(text, place)).strip()))
    return rows


def _make_crops(
    rows: list[tuple[str, str]], where: str, make_opener: Callable[[str], Callable[[], NDArray[np.uint8]]]
) -> CropDataset:
    """Make crops of the rows with a label; a name must stay inside its folder."""
    for name, _ in rows:
        relative = name.replace("\\", "/")
        if relative.startswith("/") or ":" in name or (".." in name and ".." in relative.split("/")):
            raise DataError(f"{where} names {name!r}, which lies outside it")
    crops = tuple(Crop(text, name, make_opener(name)) for name, text in rows if text)
    if not crops:
        raise DataError(f"{where} has no crop with a label")
    return CropDataset.from_crops(crops, len(rows) - len(crops))


def _read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Read one file of a zip, limited in its true size, which its header may not state."""
    if (method := archive.getinfo(name).compress_type) not in _METHODS:
        raise DataError(f"{name} is compressed by method {method}, which is not read; use deflate")
    with archive.open(name) as file:
        raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise DataError(f"{archive.filename or 'the zip'}: {name} is larger than {max_bytes >> 20} MB")
    return raw


class _BoundedFile(io.FileIO):
    """A file that gives no more at once than the directory of a zip may take, whatever the zip says."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory would take {size:,} bytes")
        return super().read(size)


@contextmanager
def _explain_zip_error(where: str) -> Iterator[None]:
    """Raise what a damaged, encrypted or foreign zip raises as a DataError."""
    try:
        yield
    except DataError:
        raise
    except _ZIP_ERRORS as why:
        raise DataError(f"{where} is torn, encrypted or no zip: {str(why)[:120]}") from why


_open_archives: dict[Path, zipfile.ZipFile] = {}


def _load_member(path: Path, name: str) -> NDArray[np.uint8]:
    """Open one picture of a zip; each process reads the zip's directory once."""
    name = str(PurePosixPath(name))
    with _explain_zip_error(f"{path}: {name}"):
        if path not in _open_archives:
            _open_archives[path] = zipfile.ZipFile(path)  # whose directory is checked already
        if name not in _open_archives[path].NameToInfo:
            raise DataError(f"{path} has no picture {name}")
        raw = _read_member(_open_archives[path], name, _MAX_PICTURE_BYTES)
    return load_picture(raw, f"{path.name}/{name}")


def _open_vintext(path: Path) -> CropDataset:
    words, dropped = open_vintext(path)
    if not words:
        raise DataError(f"{path} has no readable word")
    return CropDataset.from_crops(
        tuple(Crop(nfc(text), name, opener) for text, name, opener in words), dropped
    )


class ShuffledSource:
    """An endless source of samples: the crops, shuffled anew in every pass, and varied at every use."""

    def __init__(self, crops: Sequence[Crop], seed: int = 0, vary: float = 0.0) -> None:
        self.crops, self.seed, self.vary = crops, seed, vary
        self._order: tuple[int, NDArray[np.int64]] | None = None
        digest = hashlib.sha256("\n".join(f"{crop.name}\t{crop.text}" for crop in crops).encode())
        self.fingerprint = f"crops {digest.hexdigest()} {seed}" + f" {vary}" * (vary > 0)

    def sample(self, index: int) -> Crop:
        """Return the crop at a position of the stream."""
        sweep, at = divmod(index, len(self.crops))
        if self._order is None or self._order[0] != sweep:
            self._order = sweep, np.random.default_rng([self.seed, sweep]).permutation(len(self.crops))
        crop = self.crops[int(self._order[1][at])]
        if not self.vary:
            return crop
        rng = np.random.default_rng([self.seed, index, 1])
        return Crop(crop.text, crop.name, lambda: vary_crop(crop.picture, rng, self.vary))


class HasFingerprint(SampleSource, Protocol):
    """A source with a fingerprint."""

    @property
    def fingerprint(self) -> str:
        """Two sources with the same fingerprint give the same samples."""
        ...


class MixedSource:
    """Two sources mixed: a share (0 to 1) of the samples comes from the second."""

    def __init__(self, first: HasFingerprint, second: HasFingerprint, share: float, seed: int = 0) -> None:
        self.first, self.second, self.share, self.seed = first, second, share, seed
        self.fingerprint = f"{first.fingerprint} + {share} {seed} {second.fingerprint}"

    def sample(self, index: int) -> LabeledPicture:
        """Return the sample at a position of the stream."""
        # Numbering the second source's samples in turn keeps its passes complete: every crop once a pass.
        before, after = int(index * self.share), int((index + 1) * self.share)
        return self.second.sample(before) if after > before else self.first.sample(index)
