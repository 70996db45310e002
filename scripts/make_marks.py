"""Count the words and pairs of texts with marks, and write the counts that nhin restore comes with.

    python scripts/make_marks.py src/nhin/weights/marks.npy

They are nhin's own lists, ``data/words``: sentences and frequent words, three times each, and signs. Other
texts may be added; what is counted may be rebuilt from the counts in part, so add only what may be passed on.
"""

import argparse
from importlib.resources import files
from pathlib import Path

from nhin.data.pairs.marks import read_text, split_sentences
from nhin.decoding.mark_bigram import MarkBigram
from nhin.files import write_atomic

OWN = {"sentences.txt": 3, "common.txt": 3, "signs.txt": 1}


def read_own(name: str) -> str:
    """Read a list of nhin's, without its comments."""
    lines = files("nhin").joinpath("data", "words", name).read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def main() -> None:
    """Read, count, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("texts", type=Path, nargs="*", help="texts to count too")
    args = parser.parse_args()
    texts = [read_own(name) for name, times in OWN.items() for _ in range(times)]
    texts += [read_text(path) for path in args.texts]
    counts = MarkBigram.count(sentence for text in texts for sentence in split_sentences(text))
    data = counts.to_bytes()
    write_atomic(args.out, data)
    print(f"{counts.words.total()} words, {len(counts.words)} different, {len(data)} bytes in {args.out}")


if __name__ == "__main__":
    main()
