"""Labeled crops from a folder, a label file, a zip, or VinAI's layout, and sources that sample them.

``labels.tsv`` holds ``name<TAB>text`` lines. Pictures are opened on demand, straight from a zip if they are
in one. Labels are normalized to NFC; crops without a label are left out.
"""

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.chunk_cache import LabeledPicture, SampleSource
from nhin.data.images.vintext import is_vintext, iter_lines, open_vintext
from nhin.errors import DataError
from nhin.files import explain_os_error
from nhin.image.load import load_picture
from nhin.text.letters import nfc

LABELS = "labels.tsv"
_MAX_PICTURE_BYTES = 64 * 2**20
_MAX_LABEL_BYTES = 256 * 2**20


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
    if not path.exists():
        raise DataError(f"there is no data in {path}")
    return _open_zip(path) if zipfile.is_zipfile(path) else _open_table(path)


def _open_table(path: Path) -> CropDataset:
    if not path.is_file():
        raise DataError(f"{path.parent} has no {LABELS} (lines of name<TAB>text), and is not VinAI's layout")
    with explain_os_error(f"read {path}", DataError):
        rows = _parse_rows(path.read_bytes(), str(path))
    return _make_crops(rows, str(path), lambda name: partial(load_picture, path.parent / name))


def _open_zip(path: Path) -> CropDataset:
    """Open the crops of a zip with a label file in any folder; nothing is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            tables = [n for n in archive.namelist() if PurePosixPath(n).name == LABELS]
            if not tables:
                raise DataError(f"{path} has no {LABELS}")
            table = min(tables, key=len)
            rows = _parse_rows(_read_member(archive, table, _MAX_LABEL_BYTES), f"{path}/{table}")
    except (zipfile.BadZipFile, OSError, EOFError) as why:
        raise DataError(f"{path} is torn: {why}") from why
    folder = PurePosixPath(table).parent
    return _make_crops(rows, str(path), lambda name: partial(_load_member, path, str(folder / name)))


def _parse_rows(raw: bytes, name: str) -> list[tuple[str, str]]:
    rows = []
    for place, line in iter_lines(raw, name):
        picture, tab, text = line.partition("\t")
        if not tab:
            raise DataError(f"{place}: expected name<TAB>text, got {line[:60]!r}")
        rows.append((picture.strip(), nfc(text).strip()))
    return rows


def _make_crops(
    rows: list[tuple[str, str]], where: str, make_opener: Callable[[str], Callable[[], NDArray[np.uint8]]]
) -> CropDataset:
    """Make crops of the rows with a label; a name must stay inside its folder."""
    for name, _ in rows:
        relative = PurePosixPath(name.replace("\\", "/"))
        if relative.is_absolute() or ".." in relative.parts or ":" in name:
            raise DataError(f"{where} names {name!r}, which lies outside it")
    crops = tuple(Crop(text, name, make_opener(name)) for name, text in rows if text)
    if not crops:
        raise DataError(f"{where} has no crop with a label")
    return CropDataset.from_crops(crops, len(rows) - len(crops))


def _read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Read one file of a zip, limited in its true size, which its header may not state."""
    with archive.open(name) as file:
        raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise DataError(f"{archive.filename}: {name} is larger than {max_bytes >> 20} MB")
    return raw


_open_archives: dict[Path, zipfile.ZipFile] = {}


def _load_member(path: Path, name: str) -> NDArray[np.uint8]:
    """Open one picture of a zip; each process reads the zip's directory once."""
    try:
        if path not in _open_archives:
            _open_archives[path] = zipfile.ZipFile(path)
        raw = _read_member(_open_archives[path], name, _MAX_PICTURE_BYTES)
    except KeyError as why:
        raise DataError(f"{path} has no picture {name}") from why
    except (zipfile.BadZipFile, OSError, EOFError) as why:
        raise DataError(f"{path}: {name} is torn: {why}") from why
    return load_picture(raw, f"{path.name}/{name}")


def _open_vintext(path: Path) -> CropDataset:
    words, dropped = open_vintext(path)
    if not words:
        raise DataError(f"{path} has no readable word")
    return CropDataset.from_crops(
        tuple(Crop(nfc(text), name, opener) for text, name, opener in words), dropped
    )


class ShuffledSource:
    """An endless source of samples: the crops, shuffled anew in every pass."""

    def __init__(self, crops: Sequence[Crop], seed: int = 0) -> None:
        self.crops, self.seed = crops, seed
        self._order: tuple[int, NDArray[np.int64]] | None = None
        digest = hashlib.sha256("\n".join(f"{crop.name}\t{crop.text}" for crop in crops).encode())
        self.fingerprint = f"crops {digest.hexdigest()} {seed}"

    def sample(self, index: int) -> Crop:
        """Return the crop at a position of the stream."""
        sweep, at = divmod(index, len(self.crops))
        if self._order is None or self._order[0] != sweep:
            self._order = sweep, np.random.default_rng([self.seed, sweep]).permutation(len(self.crops))
        return self.crops[int(self._order[1][at])]


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
