"""``nhin read --out``: one file for each input, written whole, and a manifest of what failed and why."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nhin import __version__
from nhin.cli.output import print_error, show_progress, to_json
from nhin.errors import CheckpointError, NhinError, PictureError, UsageError
from nhin.files import lock_folder, open_atomic, write_atomic
from nhin.reading.document_writer import SUFFIXES, DocumentWriter
from nhin.reading.documents import ReadPage
from nhin.reading.kept_pages import KeptPages, keep_pages
from nhin.reading.read_many import map_ordered
from nhin.reading.result import ReadingWarning

MANIFEST = "nhin-read.json"
VERSION = 1
ReadPages = Callable[[Path, KeptPages | None], Iterator[ReadPage]]
Note = Callable[[], object]


@dataclass(slots=True)
class FolderRun:
    """Reads inputs into a folder.

    Args:
        out: The folder.
        format: A key of ``SUFFIXES``.
        read: Reads the pages of one input; those that are kept, not again.
        error_codes: Warnings that give the exit code of an error.
        workers: Threads that read inputs at the same time.
        settings: All that decides how inputs are read: pages kept with others are read again.
        name_picture: Where an input's first page is drawn while it is read, if that is wanted; an input that
            was read without that is read again.
    """

    out: Path
    format: str
    read: ReadPages
    error_codes: Sequence[str]
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int = 0
    workers: int = 1
    settings: str = ""
    name_picture: Callable[[Path], Path] | None = None

    def run(self, sources: Sequence[Path | NhinError], base: Path) -> int:
        """Read every input that is not done yet; return the worst exit code.

        Raises:
            UsageError: The folder cannot be written, two inputs would be one file, or one would be replaced.
        """
        paths = [path for path in sources if isinstance(path, Path)]
        targets = name_targets(paths, base, self.out, SUFFIXES[self.format])
        with lock_folder(self.out, f"another nhin read is writing in {self.out}", UsageError):
            try:
                with show_progress(len(sources), "reading") as progress:
                    for notes in map_ordered(partial(self._read_one, targets), sources, self.workers):
                        for note in notes:
                            note()
                        if progress:
                            progress(1)
            finally:
                self._write_manifest()
        return self.exit_code

    def _read_one(self, targets: dict[Path, Path], source: Path | NhinError) -> list[Note]:
        """Read an input; return what there is to note about it, in the order of the inputs."""
        if isinstance(source, NhinError):
            return [partial(self._fail, "", source)]
        notes, target = [], targets[source]
        try:
            if self._is_done(source, target):
                return [partial(self.counts.update, ["read-before"])]
            with (
                keep_pages(target, source, self.settings) as kept,
                open_atomic(target, UsageError) as file,
            ):
                writer = DocumentWriter(file, self.format, str(source))
                for page in self.read(source, kept):
                    writer.add(page)
                    numbered = [(page.reading.page, warning) for warning in page.reading.warnings]
                    notes.append(partial(self._note_warnings, source, numbered))  # not the page: it is large
                writer.finish()
            notes.append(partial(self.counts.update, ["read"]))
        except (CheckpointError, UsageError):
            raise  # it would fail every input alike
        except NhinError as why:
            notes.append(partial(self._fail, str(source), why))
        return notes

    def _is_done(self, source: Path, target: Path) -> bool:
        """Return whether an input was read to its end; the pictures of its pages are older than its text."""
        if self.name_picture is None:
            return _is_newer(target, source)
        picture = self.name_picture(source)
        return _is_newer(picture, source) and _is_newer(target, picture)

    def _note_warnings(self, source: Path, warnings: Sequence[tuple[int, ReadingWarning]]) -> None:
        for page, warning in warnings:
            print_error(warning.message)
            self.warnings.append({"path": _printable(source), "page": page, **asdict(warning)})
            if warning.code in self.error_codes:
                self.exit_code = max(self.exit_code, PictureError.exit_code)

    def _fail(self, path: str, why: NhinError) -> None:
        print_error(str(why))
        self.counts["failed"] += 1
        self.failures.append(
            {"path": _printable(path), "reason": _printable(why), "exit_code": why.exit_code}
        )
        self.exit_code = max(self.exit_code, why.exit_code)

    def _write_manifest(self) -> None:
        counts = {name: self.counts[name] for name in ("read", "read-before", "failed")}
        tree = {"version": VERSION, "nhin": __version__, "format": self.format, **counts}
        lists = {"failures": self.failures, "warnings": self.warnings}
        write_atomic(self.out / MANIFEST, to_json(tree | lists), UsageError)


def find_base(paths: Sequence[Path]) -> Path:
    """Return the folder from which places are counted: the nearest one that holds all inputs."""
    folders = [_make_absolute(path if path.is_dir() else path.parent) for path in paths]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # none, or drives of Windows
        return Path.cwd()


def name_targets(paths: Sequence[Path], base: Path, out: Path, suffix: str) -> dict[Path, Path]:
    """Return where each input is written: ``out``, its place in ``base``, its name with another suffix.

    Inputs that differ by their suffix alone keep it: ``a.jpg.txt`` and ``a.png.txt``.

    Raises:
        UsageError: An input would be replaced.
    """
    places = {path: Path(os.path.relpath(_make_absolute(path), base)) for path in paths}
    stems = Counter(_fold_stem(place) for place in set(places.values()))
    targets = {}
    for path, place in places.items():
        is_alone = stems[_fold_stem(place)] == 1
        name = (place.stem if is_alone else place.name) + suffix
        parts = [part for part in place.parent.parts if part not in ("..", os.sep, place.anchor)]
        targets[path] = out.joinpath(*parts, name)
        if _make_absolute(targets[path]) == _make_absolute(path):
            raise UsageError(f"{path} would be replaced by its own text; choose another --out")
    return targets


def _fold_stem(place: Path) -> str:
    return str(place.parent / place.stem).casefold()


def _is_newer(target: Path, source: Path) -> bool:
    """Return whether a file is there that is not older than what it was made from."""
    try:
        return target.stat().st_mtime >= source.stat().st_mtime
    except OSError:
        return False


def _make_absolute(path: Path) -> Path:
    """Return a path without steps back; links stay as they are."""
    return Path(os.path.normpath(path.absolute()))


def _printable(value: object) -> str:
    """Return text that can be stored as UTF-8, whatever the bytes of a file name."""
    return str(value).encode("utf-8", "replace").decode()
