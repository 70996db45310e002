"""Measure nhin as OCRmyPDF's engine beside Tesseract: time, and whether the text layer is what nhin reads.

    python benchmarks/ocrmypdf.py --fonts FOLDER --documents TINOS --json benchmarks/ocrmypdf.json

Needs OCRmyPDF 17 (the extra ocrmypdf), Tesseract with ``vie``, and pdftotext. Pages are drawn, scanned, and
saved as JPEG in a PDF: with --fonts ten random ones of all kinds, at 200 and 300 pixels per inch; with
--documents twelve kinds of documents as people write them, in a face whose folder is named, at 200, laid out
by a browser. Each engine gets the same file, one job, one processor; the engines take turns.

The text layer is compared with what ``nhin.read`` finds in the same JPEGs: its lines, which may be cells of a
row, wherever they stand in the extracted text; its rows, which ``nhin read`` prints as lines, as lines of it;
the words of each page, and their order. ``same_pixels`` counts the pages of which OCRmyPDF handed over the
JPEG's own pixels.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from documents import draw_documents
from measuring import describe_machine, make_parser, save_json
from PIL import Image

from nhin.data.pages.capture import capture_page
from nhin.data.pages.page_kinds import PAGE_KINDS
from nhin.data.pages.page_source import POINTS, PageSource
from nhin.data.pages.page_writer import DrawnPage
from nhin.reading.reading import Reading

SEED = 77_150
ENGINES = {"nhin": ["--plugin", "nhin"], "tesseract": []}
DOCUMENT_DPI = 200
COMMAND = [sys.executable, "-m", "ocrmypdf", "-l", "vie", "--jobs", "1", "-q"]


def draw_pages(arguments: argparse.Namespace) -> Iterator[bytes]:
    """Yield scans of pages of all kinds."""
    source, kinds = PageSource(arguments.fonts, [], SEED), list(PAGE_KINDS)
    for number in range(arguments.pages):
        rng, dpi = np.random.default_rng((SEED, number)), (200, 300)[number % 2]
        yield scan(source.draw_page(POINTS / 72 * dpi, rng, kinds[number % len(kinds)]), dpi, rng)


def draw_sets(arguments: argparse.Namespace) -> dict[str, list[bytes]]:
    """Return the scans of each set of pages."""
    sets = {"pages": list(draw_pages(arguments))} if arguments.fonts else {}
    if arguments.documents:
        drawn = enumerate(draw_documents([arguments.documents], [DOCUMENT_DPI], SEED))
        scans = [scan(page, DOCUMENT_DPI, np.random.default_rng((SEED, number))) for number, page in drawn]
        sets["documents"] = scans
    return sets


def scan(page: DrawnPage, dpi: int, rng: np.random.Generator) -> bytes:
    """Return a page as a scanner saves it, as JPEG."""
    out = io.BytesIO()
    picture = capture_page(page, "scanned", rng).picture
    Image.fromarray(picture).save(out, "JPEG", quality=90, dpi=(dpi, dpi))
    return out.getvalue()


def run_engine(engine: str, source: Path, out: Path, words: list[str]) -> tuple[float, float]:
    """Run OCRmyPDF on one processor; return seconds on the clock and of the processor."""
    processor = {min(os.sched_getaffinity(0))}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [*COMMAND, *ENGINES[engine], *words, source, out],
        check=True,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, processor),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, used


def read_layers(path: Path) -> dict[str, list[list[str]]]:
    """Return the lines of each page as three programs extract them."""
    import pypdfium2
    from pdfminer.high_level import extract_pages  # pyright: ignore[reportMissingImports]
    from pdfminer.layout import LAParams  # pyright: ignore[reportMissingImports]

    pdf = pypdfium2.PdfDocument(path)
    command = ["pdftotext", "-raw", path, "-"]
    poppler = subprocess.run(command, capture_output=True, check=True).stdout
    miner = [
        "\n".join(part.get_text() for part in _iter_text(page))
        for page in extract_pages(path, laparams=LAParams(all_texts=True, boxes_flow=None))
    ]
    texts = {
        # A hyphen at the end of a line is U+FFFE there, and the next line follows at once.
        "pdfium": [page.get_textpage().get_text_range().replace("\ufffe", "-\n") for page in pdf],
        "pdftotext": poppler.decode().split("\f")[: len(pdf)],
        "pdfminer": miner,
    }
    return {name: [_split(text) for text in pages] for name, pages in texts.items()}


def _iter_text(part):
    from pdfminer.layout import LTTextLine  # pyright: ignore[reportMissingImports]

    if isinstance(part, LTTextLine):
        yield part
    elif hasattr(part, "__iter__"):
        for child in part:
            yield from _iter_text(child)


def _split(text: str) -> list[str]:
    return [line for line in (" ".join(row.split()) for row in text.splitlines()) if line]


def compare(expected: list[Reading], found: list[list[str]]) -> dict[str, float]:
    """Compare what nhin read with the lines that were extracted; see the top of this file."""
    lines = [_split(line.text) for reading in expected for line in reading.lines]
    rows = inside = alone = same = ordered = 0
    for reading, own in zip(expected, found, strict=True):
        text, whole, rest = _split(reading.text), f" {' '.join(own)} ", Counter(own)
        inside += sum(f" {' '.join(line.text.split())} " in whole for line in reading.lines)
        rows += len(text)
        alone += (Counter(text) & rest).total()
        words, own_words = " ".join(text).split(), whole.split()
        same += sorted(words) == sorted(own_words)
        ordered += words == own_words
    return {
        "lines_found": round(inside / len(lines), 4),
        "rows_that_are_lines": round(alone / rows, 4),
        "pages_with_the_same_words": same,
        "pages_with_the_same_order": ordered,
    }


def run_kept(source: Path, words: list[str]) -> tuple[dict[str, list[list[str]]], list[Path]]:
    """Run nhin once; return the lines of each page as programs extract them, and the pictures it got."""
    out, text = source.with_suffix(".out.pdf"), source.with_suffix(".txt")
    options = [*ENGINES["nhin"], *words, "--keep-temporary-files", "--sidecar", text]
    command = [*COMMAND, *options, source, out]
    environment = {**os.environ, "TMPDIR": str(source.parent)}
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    layers = read_layers(out)
    pages = text.read_text("utf-8").split("\f")[: len(layers["pdfium"])]
    return {"sidecar": [_split(page) for page in pages], **layers}, sorted(source.parent.glob("*/*_ocr.png"))


def has_same_pixels(data: bytes, path: Path) -> bool:
    """Return whether two files hold the same picture."""
    one, two = (np.asarray(Image.open(file).convert("RGB")) for file in (io.BytesIO(data), path))
    return one.shape == two.shape and bool((one == two).all())


def measure(scans: list[bytes], rounds: int, words: list[str]) -> dict[str, Any]:
    """Measure both engines on some scans."""
    import img2pdf  # pyright: ignore[reportMissingImports]

    import nhin

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "scans.pdf")
        source.write_bytes(img2pdf.convert(scans) or b"")
        layers, pictures = run_kept(source, words)
        same = sum(map(has_same_pixels, scans, pictures))
        for _ in range(rounds):
            for name in ENGINES:
                times[name].append(run_engine(name, source, Path(folder, f"{name}.pdf"), words))
    expected = [nhin.read(data) for data in scans]
    rows = {
        name: {
            "seconds": round(statistics.median(wall for wall, _ in runs), 2),
            "cpu_seconds": round(statistics.median(cpu for _, cpu in runs), 2),
        }
        for name, runs in times.items()
    }
    return {
        "pages": len(scans),
        "engines": rows,
        "nhin_over_tesseract": {
            key: round(rows["nhin"][key] / rows["tesseract"][key], 3) for key in rows["nhin"]
        },
        "same_pixels": same,
        "text_layer": {name: compare(expected, pages) for name, pages in layers.items()},
    }


def main() -> None:
    """Measure and print; write JSON where asked."""
    parser = make_parser(__doc__)
    parser.add_argument("--fonts", nargs="+", default=[], help="folders with fonts, for random pages")
    parser.add_argument("--documents", type=Path, help="a face, for documents")
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ocrmypdf", nargs="*", default=[], help="more options, without their dashes")
    arguments = parser.parse_args()
    words = [f"--{word}" for word in arguments.ocrmypdf]
    tree: dict[str, Any] = {"machine": describe_machine("one processor, one job")}
    for name, scans in draw_sets(arguments).items():
        tree[name] = measure(scans, arguments.rounds, words)
        print(name, tree[name])
    save_json(arguments.json, tree)


if __name__ == "__main__":
    main()
