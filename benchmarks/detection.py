"""Measure the line detector: lines found on drawn pages, false lines, and what is read without any text.

    python benchmarks/detection.py --fonts FOLDER --count 200 --textless 1000

A line is found where the shapes of the truth and of the answer share at least half of the area that both
cover (IoU 0.5). The seed is one that no network was trained on.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.data.images.textless import draw_textless
from nhin.data.pages.capture import capture_page
from nhin.data.pages.page_kinds import PAGE_KINDS
from nhin.data.pages.page_source import PageSource
from nhin.reading.detector import Detector
from nhin.reading.line_shape import LineShape

SEED, MIN_IOU = 77_077, 0.5


def count_matches(truth: list[LineShape], found: list[LineShape]) -> int:
    """Count the true lines that have an answer of their own."""
    taken: set[int] = set()
    for line in truth:
        scores = [0.0 if i in taken else compute_iou(line, other) for i, other in enumerate(found)]
        if scores and max(scores) >= MIN_IOU:
            taken.add(int(np.argmax(scores)))
    return len(taken)


def compute_iou(one: LineShape, other: LineShape) -> float:
    """Return the shared area of the bands of two lines over the area that both cover."""
    outlines = one.outline(), other.outline()
    low = np.minimum(*(outline.min(0) for outline in outlines))
    high = np.maximum(*(outline.max(0) for outline in outlines))
    if any((a.max(0) < b.min(0)).any() for a, b in (outlines, outlines[::-1])):
        return 0.0
    scale = min(4.0, 1000 / float((high - low).max()))
    masks = [_fill(outline, low, high, scale) for outline in outlines]
    return float((masks[0] & masks[1]).sum() / max(1, (masks[0] | masks[1]).sum()))


def _fill(outline: NDArray, low: NDArray, high: NDArray, scale: float) -> NDArray[np.uint8]:
    width, height = (int(side) for side in np.ceil((high - low) * scale) + 1)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint((outline - low) * scale).astype(np.int32)], (1,))
    return mask


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fonts", nargs="+", required=True)
    parser.add_argument("--words", nargs="*", default=[])
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--textless", type=int, default=200)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    detector = Detector(model=arguments.model)
    source = PageSource(arguments.fonts, arguments.words, SEED)
    rows: dict[str, dict[str, float]] = {}
    for number in range(arguments.count):
        kind = list(PAGE_KINDS)[number % len(PAGE_KINDS)]
        process = ("clean", "scanned", "photographed")[number // len(PAGE_KINDS) % 3]
        rng = np.random.default_rng((SEED, number))
        dpi = (150, 200, 300)[int(rng.integers(3))]
        turn = int(rng.choice((0, 0, 90, 180, 270)))
        page = capture_page(source.draw_page(11 / 72 * dpi, rng, kind), process, rng, turn=turn)
        began = time.process_time()
        found = list(detector.find(page.picture).lines)
        seconds = time.process_time() - began
        truth = [LineShape(line.center, line.height) for line in page.lines]
        matches = count_matches(truth, found)
        for key in ("all", process, kind):
            row = rows.setdefault(key, dict.fromkeys(("pages", "lines", "found", "false", "seconds"), 0.0))
            more = (1, len(truth), matches, len(found) - matches, seconds)
            for name, value in zip(row, more, strict=True):
                row[name] += value
    for key, row in rows.items():
        print(
            f"{key:14} {row['pages']:4.0f} pages  recall {100 * row['found'] / row['lines']:6.2f}%  "
            f"false {row['false'] / row['pages']:.2f} a page  {row['seconds'] / row['pages']:.3f} s a page"
        )
    without = [len(detector.find(draw_textless(SEED, i)[0]).lines) for i in range(arguments.textless)]
    print(f"{sum(without)} lines on {len(without)} pictures without text")
    if arguments.out:
        result = {"rows": rows, "textless": {"pictures": len(without), "lines": sum(without)}}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
