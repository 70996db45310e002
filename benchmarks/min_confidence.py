"""Count true lines lost and false lines kept at several values of ``nhin read --min-confidence``.

    python benchmarks/min_confidence.py DATA              labeled crops: a folder, TSV or zip
    python benchmarks/min_confidence.py DATA --last 500   only the last of them

True lines are crops of DATA that are read right; false ones are lines that the page pipeline, detector
included, proposes in 500 drawn pictures without text; those tried from both ends count twice.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.datasets import open_crops
from nhin.data.images.textless import draw_textless
from nhin.reading.batching import BATCH_SIZE
from nhin.reading.reader import Reader
from nhin.reading.result import Recognition
from nhin.reading.rotation import mean_confidence
from nhin.text.letters import nfc

TEXTLESS, SEED = 500, 14
THRESHOLDS = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8)


class Recorder:
    """A recognizer that keeps what another one reads."""

    def __init__(self, reader: Reader) -> None:
        self.recognizer, self.read_so_far = reader.recognizer, list[Recognition]()

    def read(self, crops: Sequence[NDArray[np.uint8]]) -> list[Recognition]:
        """Read crops."""
        recognitions = self.recognizer.read(crops)
        self.read_so_far += [recognition for recognition in recognitions if recognition.text.strip()]
        return recognitions


def rate_textless(reader: Reader) -> list[float]:
    """Return the confidence of every line read in pictures without text."""
    recorder = Recorder(reader)
    pages = Reader(recognizer=recorder, detector=reader.detector)
    for i in range(TEXTLESS):
        pages.read(np.ascontiguousarray(draw_textless(SEED, i)[0]))
    return [mean_confidence(recognition) for recognition in recorder.read_so_far]


def rate_crops(reader: Reader, path: Path, last: int) -> list[tuple[float, bool]]:
    """Return the confidence of every crop that gave text, and whether it was read right."""
    crops, out = open_crops(path)[-last:], []
    for i in range(0, len(crops), BATCH_SIZE):
        part = crops[i : i + BATCH_SIZE]
        for crop, recognition in zip(part, reader.recognizer.read([c.picture for c in part]), strict=True):
            if recognition.text:
                out.append((mean_confidence(recognition), nfc(recognition.text) == crop.text))
    return out


def main() -> int:
    """Measure and print a table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--last", type=int, default=0)
    options = parser.parse_args()
    reader = Reader().load()
    words, false = rate_crops(reader, options.data, options.last), rate_textless(reader)
    sys.stdout.write(f"{'':6} right words lost  wrong words left out  false lines kept\n")
    for least in (0.0, *THRESHOLDS):
        right, wrong = (
            sum(p < least and is_right is kind for p, is_right in words) for kind in (True, False)
        )
        kept = sum(p >= least for p in false)
        sys.stdout.write(f"{least:<6} {right:>16} {wrong:>21} {kept:>17}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
