"""``nhin read --engine ray``: read on a cluster, and write Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nhin.cli.output import print_error, show_progress
from nhin.cli.read_sources import FileOptions, Source, Stream, list_sources
from nhin.errors import NhinError, PictureError, UsageError
from nhin.files import explain_os_error, write_folder
from nhin.reading.ray_engine import ClusterOptions, is_table, read_on_cluster

_ROWS = 10_000
"""Rows of a file."""


def read_to_parquet(paths: Sequence[Path], files: FileOptions, options: ClusterOptions) -> int:
    """Read files on a cluster into a folder of Parquet, written whole; return the worst exit code.

    Raises:
        UsageError: There is no ``out``, it holds something else, or it cannot be written.
    """
    out = files.out
    if out is None:
        raise UsageError("--engine ray writes Parquet: give --out FOLDER")
    if out.exists() and (not out.is_dir() or any(path.suffix != ".parquet" for path in out.iterdir())):
        raise UsageError(f"{out} is there already and is not a folder of Parquet; name another folder")
    found: Sequence[Source] = list(paths) if is_table(paths) else list_sources(paths, files)
    if stream := next((source for source in found if isinstance(source, Stream)), None):
        raise UsageError(f"--engine ray reads files; {stream.name} is none")
    inputs = [path for path in found if isinstance(path, Path)]
    exit_code = 0
    for why in found:
        if isinstance(why, NhinError):
            print_error(str(why))
            exit_code = why.exit_code
    with explain_os_error(f"write {out}", UsageError), write_folder(out) as folder:
        rows: list[dict[str, Any]] = []
        with show_progress(len(inputs), "reading") as progress:
            for number, pages in enumerate(read_on_cluster(inputs, options)):
                for page in pages:
                    for text in filter(None, (*page["warnings"].split("\n"), page["error"])):
                        print_error(text)
                    exit_code = max(exit_code, PictureError.exit_code * bool(page["error"]))
                rows += pages
                if progress and number < len(inputs):
                    progress(1)
                if len(rows) >= _ROWS:
                    _write_part(folder, rows)
        _write_part(folder, rows)
    return exit_code


def _write_part(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows that are there as the next file, and clear them."""
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    if rows:
        pq.write_table(pa.Table.from_pylist(rows), folder / f"part-{len(list(folder.iterdir())):05}.parquet")
        rows.clear()
