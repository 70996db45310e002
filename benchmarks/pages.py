"""Measure reading of whole pages: drawn ones of all kinds, clean, scanned, photographed; Tesseract beside.

    python benchmarks/pages.py --fonts FOLDER --per-kind 2 --peers tesseract
    python benchmarks/pages.py --documents TINOS ARIMO --dpi 150 200 300 --peers tesseract

With --documents: twelve kinds of documents as people write them, laid out by a browser (``chromium``, or what
NHIN_BROWSER names) in each of the faces, whose folders are named. Otherwise: random words, faces and colors.
Pages are drawn with a seed that no network was trained on; FOLDER should hold such faces too. Figures: CER in
reading order, CER of the lines wherever they stand, lines exactly right, lost and false lines, breaks of the
order (a line that does not follow the one before it in the truth), CPU-seconds of one thread.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

import numpy as np
from measuring import describe_machine

from nhin.data.pages.capture import PROCESSES, capture_page
from nhin.data.pages.page_kinds import PAGE_KINDS
from nhin.data.pages.page_source import POINTS, PageSource
from nhin.data.pages.page_writer import DrawnPage
from nhin.metrics.edit_distance import edit_distance
from nhin.text.letters import nfc

SEED = 90_210


@dataclass(slots=True)
class Tally:
    """Sums over the pages of one kind or process."""

    pages: int = 0
    letters: int = 0
    order_edits: int = 0
    line_edits: int = 0
    lines: int = 0
    exact: int = 0
    false_lines: int = 0
    lost_lines: int = 0
    breaks: int = 0
    pages_in_order: int = 0
    seconds: float = 0.0

    def add(self, other: "Tally") -> None:
        """Add the sums of another."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def summarize(self) -> dict[str, float]:
        """Return rates in percent, and seconds a page."""
        lines, letters, pages = max(1, self.lines), max(1, self.letters), max(1, self.pages)
        return {
            "pages": self.pages,
            "cer_in_order": round(100 * self.order_edits / letters, 3),
            "cer_of_lines": round(100 * self.line_edits / letters, 3),
            "lines_exact": round(100 * self.exact / lines, 2),
            "lost_lines": round(100 * self.lost_lines / lines, 2),
            "false_lines_a_page": round(self.false_lines / pages, 3),
            "order_breaks_a_page": round(self.breaks / pages, 3),
            "pages_in_order": round(100 * self.pages_in_order / pages, 1),
            "seconds_a_page": round(self.seconds / pages, 3),
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What a reader found: each line's text and center, in its order."""

    texts: list[str] = field(default_factory=list)
    centers: list[tuple[float, float]] = field(default_factory=list)
    whole: str = ""


def judge(page: DrawnPage, found: Found, seconds: float) -> Tally:
    """Compare an answer with the truth."""
    tally = Tally(pages=1, lines=len(page.lines), seconds=seconds)
    truths = [nfc(line.text) for line in page.lines]
    tally.letters = sum(map(len, truths))
    owners = [_find_owner(page, center) for center in found.centers]
    order: list[int] = []
    for number, truth in enumerate(truths):
        line = page.lines[number]
        along = line.center[-1] - line.center[0]
        own = sorted(
            (i for i, owner in enumerate(owners) if owner == number),
            key=lambda i: float(np.dot(found.centers[i], along)),
        )
        read = " ".join(found.texts[i] for i in own)
        read = " ".join(read.split())
        tally.line_edits += edit_distance(read, truth)
        tally.exact += read == truth
        tally.lost_lines += not own
    for i, owner in enumerate(owners):
        if owner is None:
            tally.false_lines += 1
            tally.line_edits += len(found.texts[i])
        elif not order or order[-1] != owner:
            order.append(owner)
    breaks = sum(b != a + 1 for a, b in pairwise(order))
    tally.breaks, tally.pages_in_order = breaks, breaks == 0
    whole = " ".join(found.whole.split())
    tally.order_edits = edit_distance(whole, " ".join(truths))
    return tally


def _find_owner(page: DrawnPage, center: tuple[float, float]) -> int | None:
    """Return the true line that a found line's center stands on, the nearest one within its height."""
    best, nearest = None, 1.0
    for number, line in enumerate(page.lines):
        steps = line.center - np.array(center, np.float32)
        i = int(np.hypot(*steps.T).argmin())
        along = line.center[-1] - line.center[0]
        length = max(float(np.hypot(*along)), 1e-6)
        along = along / length
        across = abs(float(steps[i] @ np.array([-along[1], along[0]], np.float32))) / line.height
        t = float((np.array(center, np.float32) - line.center[0]) @ along)
        if -line.height <= t <= length + line.height and across < nearest:
            best, nearest = number, across
    return best


def draw_all(arguments: argparse.Namespace) -> Iterator[tuple[str, DrawnPage]]:
    """Yield the name of each page's process, and the page: documents, or random pages."""
    if not arguments.documents:
        yield from draw_pages(arguments)
        return
    from documents import draw_documents

    faces = [Path(folder) for folder in arguments.documents]
    drawn = draw_documents(faces, arguments.dpi, SEED, arguments.kinds)
    for number, page in enumerate(drawn):
        rng = np.random.default_rng((SEED, number))
        for process in arguments.processes:
            yield process, capture_page(page, process, rng, turn=arguments.turn, skew=arguments.skew)


def draw_pages(arguments: argparse.Namespace) -> Iterator[tuple[str, DrawnPage]]:
    """Yield the name of each page's process, and the page."""
    source = PageSource(arguments.fonts, arguments.words, SEED)
    kinds = arguments.kinds or list(PAGE_KINDS)
    for kind in kinds:
        for number in range(arguments.per_kind):
            rng = np.random.default_rng((SEED, list(PAGE_KINDS).index(kind), number))
            dpi = (150, 200, 300)[number % 3]
            page = source.draw_page(POINTS / 72 * dpi, rng, kind)
            for process in arguments.processes:
                yield process, capture_page(page, process, rng, turn=arguments.turn, skew=arguments.skew)


def read_with_nhin(reader, page: DrawnPage) -> Found:
    """Read a page with nhin."""
    reading = reader.read(page.picture)
    centers = [tuple(np.mean(line.box, axis=0).tolist()) for line in reading.lines]
    return Found([line.text for line in reading.lines], centers, reading.text)


def read_with_tesseract(page: DrawnPage) -> Found:
    """Read a page with Tesseract's ``vie``."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.png")
        Image.fromarray(page.picture).save(path, compress_level=1)
        command = ["tesseract", str(path), "-", "-l", "vie", "--psm", "1", "--dpi", "200", "tsv"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines: dict[tuple[str, ...], list[list[str]]] = {}
    for row in out.splitlines()[1:]:
        parts = row.split("\t")
        if parts[0] == "5" and parts[11].strip():
            lines.setdefault(tuple(parts[1:5]), []).append(parts)
    texts, centers = [], []
    for words in lines.values():
        boxes = np.array([[int(v) for v in word[6:10]] for word in words])
        low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
        texts.append(nfc(" ".join(word[11] for word in words)))
        centers.append(tuple(((low + high) / 2).tolist()))
    return Found(texts, centers, "\n".join(texts))


def main() -> None:
    """Measure and print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fonts", nargs="+", default=[])
    parser.add_argument("--documents", nargs="*", default=[])
    parser.add_argument("--dpi", nargs="+", type=int, default=[150, 200, 300])
    parser.add_argument("--words", nargs="*", default=[])
    parser.add_argument("--kinds", nargs="*", default=[])
    parser.add_argument("--processes", nargs="+", default=list(PROCESSES))
    parser.add_argument("--per-kind", type=int, default=2)
    parser.add_argument("--turn", type=int, default=0)
    parser.add_argument("--skew", type=float, default=0.0)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--peers", nargs="*", default=[])
    parser.add_argument("--out")
    arguments = parser.parse_args()
    import nhin

    reader = nhin.Reader(arguments.weights).load()
    readers = {"nhin": lambda page: read_with_nhin(reader, page)}
    if "tesseract" in arguments.peers:
        readers["tesseract"] = read_with_tesseract
    tallies: dict[str, Tally] = {}
    for process, page in draw_all(arguments):
        for name, read in readers.items():
            began = time.process_time(), os.times()
            found = read(page)
            times = os.times()
            seconds = time.process_time() - began[0]
            seconds += times.children_user + times.children_system
            seconds -= began[1].children_user + began[1].children_system
            tally = judge(page, found, seconds)
            for key in (f"{name} {process}", f"{name} {process} {page.kind}"):
                tallies.setdefault(key, Tally()).add(tally)
    rows = {key: tally.summarize() for key, tally in sorted(tallies.items())}
    for key, row in rows.items():
        print(key.ljust(36), "  ".join(f"{name} {value}" for name, value in row.items()))
    if arguments.out:
        kept = ("documents", "dpi", "kinds", "processes", "per_kind", "turn", "skew", "weights")
        settings = {name: getattr(arguments, name) for name in kept}
        settings["documents"] = [Path(folder).name for folder in arguments.documents]
        about = {"machine": describe_machine(), "seed": SEED, **settings}
        Path(arguments.out).write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
