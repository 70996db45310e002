"""Count the words of running text, of nhin's own lists and of other lists: the prior of mode beam.

    python scripts/make_prior.py OUT.npy TEXTS --names names.txt --units units.json [--labels train.zip ...]

TEXTS is a folder of texts with a sentence a line, such as the part ``train`` of what make_marks_corpus.py
wrote. Names are a list, one a line; units a JSON file with fields ``FullName``. ``--labels`` counts the
labels of a data set of crops, each many times; what is counted from data that may not be passed on may not be
passed on either.
"""

import argparse
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from nhin.data.images.datasets import open_crops
from nhin.decoding.text_prior import TextPrior
from nhin.files import write_atomic

OWN = {"signs.txt": 30, "latin.txt": 30, "common.txt": 30, "sentences.txt": 3}
NAME_TIMES, UNIT_TIMES, LABEL_TIMES = 10, 3, 300
"""How often each text of a list counts beside 17 million words of running text."""


def read_texts(args: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield the texts, and how often each counts."""
    for path in sorted(args.texts.glob("*.txt")):
        for line in path.read_text("utf-8").splitlines():
            yield line, 1
    for name, times in OWN.items():
        for line in files("nhin").joinpath("data", "words", name).read_text("utf-8").splitlines():
            yield from [(line, times)] * (not line.startswith("#"))
    for path in args.names:
        for line in path.read_text("utf-8").splitlines():
            yield line, NAME_TIMES
    for path in args.units:
        for name in re.findall(r'"FullName": "([^"]+)"', path.read_text("utf-8")):
            yield name, UNIT_TIMES
    for path in args.labels:
        for crop in open_crops(path):
            yield crop.text, LABEL_TIMES


def main() -> None:
    """Read, count, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("texts", type=Path, help="a folder of texts, a sentence a line")
    parser.add_argument("--names", type=Path, nargs="*", default=[], help="lists of names")
    parser.add_argument("--units", type=Path, nargs="*", default=[], help="lists of administrative units")
    parser.add_argument("--labels", type=Path, nargs="*", default=[], help="data sets of labeled crops")
    parser.add_argument("--fewest", type=int, default=3, help="words and n-grams seen less often are dropped")
    args = parser.parse_args()
    prior = TextPrior.count(read_texts(args), args.fewest)
    data = prior.to_bytes()
    write_atomic(args.out, data)
    sizes = f"{prior.words.shape[1]:,} words and {prior.letters.grams.shape[1]:,} n-grams"
    print(f"{sizes} of {prior.total:,} words, {len(data) / 1e6:.2f} MB in {args.out}")


if __name__ == "__main__":
    main()
