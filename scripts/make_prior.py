"""Count the letters of the texts that synthetic pictures show, and write the prior of mode beam.

    python scripts/make_prior.py OUT.npy names.txt units.txt verse.txt [--labels train.zip ...]

The texts are drawn by ``data.images.text_generator`` from its own rules and lists and the given word lists.
``--labels`` counts the labels of a data set of crops too, eight times each; what is counted from data that
may not be passed on may not be passed on either.
"""

import argparse
from pathlib import Path

import numpy as np

from nhin.data.images.datasets import open_crops
from nhin.data.images.text_generator import TextGenerator, read_words
from nhin.decoding.letter_prior import LetterPrior
from nhin.files import write_atomic

_COUNT, _LABEL_WEIGHT, _LINES = 400_000, 8, 0.15


def main() -> None:
    """Draw, count, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("words", type=Path, nargs="*", help="word lists, one word a line")
    parser.add_argument("--labels", type=Path, nargs="*", default=[], help="data sets of labeled crops")
    parser.add_argument("--count", type=int, default=_COUNT, help="texts to draw")
    parser.add_argument("--fewest", type=int, default=5, help="n-grams seen less often are dropped")
    args = parser.parse_args()
    generator, rng = TextGenerator([read_words(path) for path in args.words]), np.random.default_rng(0)
    texts = [
        generator.draw_line(rng, int(rng.integers(2, 5)))
        if rng.random() < _LINES
        else generator.draw_word(rng)
        for _ in range(args.count)
    ]
    for path in args.labels:
        texts += [crop.text for crop in open_crops(path)] * _LABEL_WEIGHT
    prior = LetterPrior.count(texts, fewest=args.fewest)
    data = prior.to_bytes()
    write_atomic(args.out, data)
    print(f"{len(texts)} texts, {prior.grams.shape[1]} n-grams, {len(data) / 1e6:.2f} MB in {args.out}")


if __name__ == "__main__":
    main()
