"""Text from Hugging Face's hub, the one source that needs the network, and a local file to keep it in."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nhin.data.text.sources import CorpusSource
from nhin.errors import DataError, MissingExtra

HUB = "hf:"


def open_hub(source_name: str) -> CorpusSource:
    """Open the training split of a data set; each row is a document, streamed.

    Args:
        source_name: ``hf:NAME`` or ``hf:NAME:column``; the column is ``text`` by default.

    Raises:
        DataError: No data set is named.
        MissingExtra: The ``datasets`` package is not installed.
    """
    name, _, column = source_name.removeprefix(HUB).partition(":")
    if not name:
        raise DataError(f"{source_name} names no data set; write hf:NAME or hf:NAME:column")
    try:
        import datasets  # pyright: ignore[reportMissingImports] # optional
    except ImportError as why:
        raise MissingExtra(f"{source_name} needs the package datasets: pip install datasets") from why
    return CorpusSource(source_name, lambda: _stream_documents(datasets, name, column or "text"), remote=True)


def _stream_documents(package: Any, name: str, column: str) -> Iterator[Iterator[str]]:
    try:
        for number, row in enumerate(package.load_dataset(name, split="train", streaming=True)):
            yield iter([_get_text(row, column, f"row {number} of {HUB}{name}")])
    except (OSError, ValueError, RuntimeError, KeyError) as why:
        if isinstance(why, DataError):
            raise
        raise DataError(f"cannot read {HUB}{name}: {why}") from why


def _get_text(row: Mapping[str, object], column: str, where: str) -> str:
    text = row.get(column)
    if not isinstance(text, str):
        known = ", ".join(name for name, value in row.items() if isinstance(value, str)) or "none"
        raise DataError(f"{where} has no text in the column {column}; columns of text: {known}")
    try:
        text.encode()
    except UnicodeEncodeError as why:
        raise DataError(f"{where} has half a surrogate pair at {why.start}: UTF-8 cannot encode it") from None
    return text


def save_documents(source: CorpusSource, path: Path) -> CorpusSource:
    """Write a source's documents to a file, one per line; return a source that reads them from it."""
    with path.open("w", encoding="ascii") as file:
        for document in source.documents():
            file.write(json.dumps("".join(document)) + "\n")
    return CorpusSource(source.name, lambda: _read_documents(path), source.single, skipped=source.skipped)


def _read_documents(path: Path) -> Iterator[Iterator[str]]:
    with path.open(encoding="ascii") as file:
        for line in file:
            yield iter([json.loads(line)])
