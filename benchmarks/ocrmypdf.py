"""Measure nhin as OCRmyPDF's engine beside Tesseract: time, and whether the text layer is what nhin reads.

    python benchmarks/ocrmypdf.py --fonts FOLDER --json benchmarks/ocrmypdf.json

Needs OCRmyPDF 17 (the extra ocrmypdf), Tesseract with ``vie``, and pdftotext. Ten pages are drawn, scanned,
and saved as JPEG in a PDF. Each engine gets the same file, one job, one processor; the engines take turns.
The lines are compared with those that ``nhin.read`` finds in the same JPEGs.
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
from pathlib import Path

import numpy as np
from measuring import describe_machine, make_parser, save_json
from PIL import Image

from nhin.data.pages.capture import capture_page
from nhin.data.pages.page_kinds import PAGE_KINDS
from nhin.data.pages.page_source import POINTS, PageSource

SEED = 77_150
ENGINES = {"nhin": ["--plugin", "nhin"], "tesseract": []}


def draw_scans(arguments: argparse.Namespace) -> list[tuple[bytes, int]]:
    """Return scanned pages of all kinds as JPEG, and their pixels per inch."""
    source, kinds = PageSource(arguments.fonts, [], SEED), list(PAGE_KINDS)
    scans = []
    for number in range(arguments.pages):
        rng, dpi = np.random.default_rng((SEED, number)), (200, 300)[number % 2]
        page = source.draw_page(POINTS / 72 * dpi, rng, kinds[number % len(kinds)])
        out = io.BytesIO()
        picture = capture_page(page, "scanned", rng).picture
        Image.fromarray(picture).save(out, "JPEG", quality=90, dpi=(dpi, dpi))
        scans.append((out.getvalue(), dpi))
    return scans


def run_engine(engine: str, source: Path, out: Path, words: list[str]) -> tuple[float, float]:
    """Run OCRmyPDF on one processor; return seconds on the clock and of the processor."""
    command = [sys.executable, "-m", "ocrmypdf", *ENGINES[engine], "-l", "vie", "--jobs", "1", "-q", *words]
    processor = {min(os.sched_getaffinity(0))}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [*command, source, out],
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
        "pdfium": [page.get_textpage().get_text_range() for page in pdf],
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


def compare(expected: list[list[str]], found: list[list[str]]) -> dict[str, float]:
    """Return the share of lines that stand in the text word for word, and of those that are lines of it."""
    total = inside = alone = 0
    same = 0
    for lines, own in zip(expected, found, strict=True):
        whole, rest = f" {' '.join(own)} ", set(own)
        total += len(lines)
        inside += sum(f" {line} " in whole for line in lines)
        alone += sum(line in rest for line in lines)
        same += sorted(" ".join(lines).split()) == sorted(" ".join(own).split())
    return {
        "lines": total,
        "found": round(inside / total, 4),
        "as_lines": round(alone / total, 4),
        "pages_with_the_same_words": same,
    }


def main() -> None:
    """Measure and print; write JSON where asked."""
    parser = make_parser(__doc__)
    parser.add_argument("--fonts", nargs="+", required=True)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ocrmypdf", nargs="*", default=[], help="more options, without their dashes")
    arguments = parser.parse_args()
    import img2pdf  # pyright: ignore[reportMissingImports]

    import nhin

    scans = draw_scans(arguments)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "scans.pdf"), {name: Path(folder, f"{name}.pdf") for name in ENGINES}
        source.write_bytes(img2pdf.convert([data for data, _ in scans]) or b"")
        words = [f"--{word}" for word in arguments.ocrmypdf]
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ENGINES}
        for _ in range(arguments.rounds):
            for name in ENGINES:
                times[name].append(run_engine(name, source, out[name], words))
        layers = read_layers(out["nhin"])
    expected = [[line.text for line in nhin.read(data).lines] for data, _ in scans]
    rows = {
        name: {
            "seconds": round(statistics.median(wall for wall, _ in runs), 2),
            "cpu_seconds": round(statistics.median(cpu for _, cpu in runs), 2),
        }
        for name, runs in times.items()
    }
    ratios = {key: round(rows["nhin"][key] / rows["tesseract"][key], 3) for key in rows["nhin"]}
    tree = {
        "machine": describe_machine("one processor, one job"),
        "pages": len(scans),
        "engines": rows,
        "nhin_over_tesseract": ratios,
        "text_layer": {name: compare(expected, pages) for name, pages in layers.items()},
    }
    print(tree)
    save_json(arguments.json, tree)


if __name__ == "__main__":
    main()
