"""Read many files on a cluster, with Ray Data: paths or a Parquet table in, a row for each page out.

Each process of the cluster has a reader of one thread. Ray runs again what a dead process or node had not
finished; a row is written once, here, in the order of the inputs, whatever was run twice. Paths are opened
where they are read, so all nodes must see the files; a Parquet table brings their bytes along.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nhin.errors import MissingExtra, NhinError, ProcessError, UsageError, explain_install
from nhin.image.page_ranges import parse_pages
from nhin.reading.documents import DocumentOptions, OcrMode, read_document
from nhin.reading.reader import Reader

COLUMNS = ("number", "path", "page", "text", "confidence", "json", "warnings", "error")
"""Of the rows: the number of the input from 0, and what was read of a page, or why nothing was."""
_BATCH = 8


@dataclass(frozen=True)
class ClusterOptions:
    """How files are read: ``settings`` are arguments of ``Reader``, the rest as for its methods."""

    settings: dict[str, Any]
    crop: bool = False
    pages: str | None = None
    ocr: OcrMode = "auto"
    address: str = "local"


class ClusterReader:
    """A process of the cluster; called with batches of inputs."""

    def __init__(self, options: ClusterOptions) -> None:
        import cv2

        cv2.setNumThreads(1)
        ranges = None if options.pages is None else parse_pages(options.pages)
        self._options = DocumentOptions(options.crop, ranges, options.ocr)
        self._reader = Reader(**options.settings, threads=1).load(options.crop)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Return a row for each page, and one for each input that could not be read."""
        rows: list[tuple[Any, ...]] = []
        for number, path, data in zip(batch["number"], batch["path"], batch["bytes"], strict=True):
            rows += self._read(int(number), str(path), data)
        return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}

    def _read(self, number: int, path: str, data: bytes) -> Iterator[tuple[Any, ...]]:
        source = bytes(data) if data else Path(path)  # a path has no bytes
        try:
            for page in read_document(self._reader, source, path, self._options):
                found = page.reading
                warnings = "\n".join(warning.message for warning in found.warnings)
                values = (found.page, found.text, found.confidence, found.to_json(path), warnings)
                yield number, path, *values, ""
        except NhinError as why:
            yield number, path, 0, "", 0.0, "", "", str(why)


def read_on_cluster(inputs: Sequence[Path], options: ClusterOptions) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each input, in order, each input once.

    Args:
        inputs: Pictures and PDFs; or one Parquet file or folder of them, with the columns ``path`` and
            ``bytes``.
        options: How they are read, and the cluster's address: ``local`` starts one on this machine.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: The cluster or the table cannot be reached.
        ProcessError: Ray lost an input.
    """
    if find_spec("ray") is None:
        raise MissingExtra(f"a cluster needs Ray, which is not installed: {explain_install('ray')}")
    import ray  # pyright: ignore[reportMissingImports]

    try:
        if not ray.is_initialized():
            ray.init(options.address, include_dashboard=False, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as why:
        raise UsageError(f"no Ray cluster at {options.address}: {str(why)[:200]}") from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    table, count = _open_inputs(ray, inputs)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    rows = table.map_batches(
        ClusterReader,
        fn_constructor_args=(options,),
        batch_size=_BATCH,
        concurrency=(1, cores),
        num_cpus=1,
    )
    yield from _order_rows(rows.iter_rows(), count)


def is_table(inputs: Sequence[Path]) -> bool:
    """Return whether inputs are a Parquet file, or a folder of them, rather than pictures."""
    return len(inputs) == 1 and (inputs[0].suffix == ".parquet" or any(inputs[0].glob("*.parquet")))


def _open_inputs(ray: Any, inputs: Sequence[Path]) -> tuple[Any, int]:
    """Return the inputs as a data set, and how many they are."""
    if is_table(inputs):
        import pyarrow.dataset  # pyright: ignore[reportMissingImports]

        found = pyarrow.dataset.dataset(str(inputs[0])).to_table(columns=["path", "bytes"])
        pairs = zip(found["path"].to_pylist(), found["bytes"].to_pylist(), strict=True)
        items = [{"number": i, "path": path, "bytes": data} for i, (path, data) in enumerate(pairs)]
    else:
        items = [{"number": i, "path": str(path), "bytes": b""} for i, path in enumerate(inputs)]
    return ray.data.from_items(items, override_num_blocks=max(1, -(-len(items) // _BATCH))), len(items)


def _order_rows(rows: Iterator[dict[str, Any]], count: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each input in order, those that came twice once."""
    waiting: dict[int, dict[int, dict[str, Any]]] = {}
    for row in rows:
        waiting.setdefault(row["number"], {})[row["page"]] = row
    for number in range(count):
        if number not in waiting:
            raise ProcessError(f"Ray lost input {number + 1} of {count}")
        pages = waiting.pop(number)
        yield [pages[page] for page in sorted(pages)]
