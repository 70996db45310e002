"""Learn the weights with which mode beam ranks candidates: of the networks' scores and of the prior.

    python scripts/fit_ranking.py DATA ... --part 3 5 --of 7

DATA are sets of labeled crops. They are read in mode beam; of the crops whose reading is doubtful, the
candidates and their scores are kept. The weights maximize the probability of the candidates that are right,
by Newton's method. Every fifth of the crops is also ranked with weights learned on the others: that share of
right words, of all crops of a set, is what can be expected of new ones. With ``--part K ... --of N`` only the
blocks of fifty crops whose number leaves K when divided by N are read.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.datasets import open_crops
from nhin.decoding.text_prior import FEATURES
from nhin.ocr.evaluate import open_reader
from nhin.reading.candidate_ranker import CandidateRanker, ScoredCandidates
from nhin.text.letters import nfc

NAMES = ("decoder", "ctc", "second_decoder", "second_ctc", *FEATURES)
BLOCK, FOLD, FOLDS = 50, 5, 5
PENALTY = 0.002  # of the squares of the weights, each in units of how much its score varies
Floats = NDArray[np.float64]


class RecordingRanker(CandidateRanker):
    """Keeps the candidates that it ranked."""

    def __init__(self, other: CandidateRanker) -> None:
        super().__init__(other.model, other.charset, other.height, other.prior, other.load_second)
        self.seen: list[ScoredCandidates] = []

    def score(self, crops: Sequence[NDArray[np.uint8]]) -> list[ScoredCandidates]:
        """Score as the other does."""
        self.seen = super().score(crops)
        return self.seen


@dataclass(frozen=True, slots=True)
class Ranked:
    """A crop: its fold, whether the final reading is right; if it was in doubt, scores and the right ones."""

    fold: int
    is_right: bool
    scores: Floats | None = None
    right: NDArray[np.bool_] | None = None


def collect(path: Path, model: str, parts: set[int], of: int) -> list[Ranked]:
    """Read the crops of a set one by one."""
    reader = open_reader(model, "beam", 1)
    assert reader.ranker is not None
    reader.ranker = ranker = RecordingRanker(reader.ranker)
    assert ranker.prior is not None
    found = []
    for number, crop in enumerate(open_crops(path)):
        block = number // BLOCK
        if block % of not in parts:
            continue
        ranker.seen, label = [], nfc(crop.text)
        text, fold = reader.read([crop.picture])[0].text, block // FOLD % FOLDS
        if not ranker.seen or len(ranker.seen[0].texts) < 2:
            found.append(Ranked(fold, text == label))
            continue
        texts = [reader.charset.decode(ids).strip() for ids in ranker.seen[0].texts]
        features = np.array([ranker.prior.measure(text) for text in texts])
        scores = np.concatenate([ranker.seen[0].scores, features], axis=1)
        found.append(Ranked(fold, text == label, scores, np.array([text == label for text in texts])))
        if len(found) % 500 == 0:
            print(f"{path.name}: {len(found):,} crops", file=sys.stderr, flush=True)
    return found


def fit(crops: Sequence[Ranked]) -> Floats:
    """Return the weights that make the right candidates most probable."""
    tables = [
        (crop.scores, crop.right) for crop in crops if crop.scores is not None and crop.right is not None
    ]
    tables = [(scores - scores.mean(0), right) for scores, right in tables if right.any()]
    scale = np.sqrt(np.mean(np.concatenate([scores for scores, _ in tables]) ** 2, axis=0)) + 1e-9
    weights = np.zeros(len(scale))
    for _ in range(30):
        slope, curve = PENALTY * weights * len(tables), PENALTY * len(tables) * np.eye(len(scale))
        for scores, right in tables:
            x = scores / scale
            z = x @ weights
            p = np.exp(z - z.max())
            p /= p.sum()
            mean, wanted = p @ x, (p[right] / p[right].sum()) @ x[right]
            slope -= wanted - mean
            curve += (x - mean).T @ ((x - mean) * p[:, None])
        step = np.linalg.solve(curve, slope)
        weights -= step * min(1.0, 2.0 / np.abs(step).max())
        if np.abs(step).max() < 1e-4:
            break
    return weights / scale


def count_right(crops: Sequence[Ranked], weights: Floats) -> int:
    """Count the crops whose text is right if the doubtful ones are ranked with these weights."""
    return sum(
        crop.is_right
        if crop.scores is None or crop.right is None
        else bool(crop.right[(crop.scores @ weights).argmax()])
        for crop in crops
    )


def main() -> None:
    """Read, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--model", default="default")
    parser.add_argument("--part", type=int, nargs="*", default=[0])
    parser.add_argument("--of", type=int, default=1)
    args = parser.parse_args()
    sets = [collect(path, args.model, set(args.part), args.of) for path in args.data]
    crops = [crop for found in sets for crop in found]
    folds = [fit([crop for crop in crops if crop.fold != fold]) for fold in range(FOLDS)]
    for path, found in zip(args.data, sets, strict=True):
        now = sum(crop.is_right for crop in found)
        known = sum(bool(crop.is_right if crop.right is None else crop.right.any()) for crop in found)
        new = sum(count_right([c for c in found if c.fold == fold], w) for fold, w in enumerate(folds))
        shares = [f"{100 * n / len(found):.2f}%" for n in (now, new, known)]
        print(
            f"{path.name}: of {len(found):,} crops right now {shares[0]}, with weights learned on others "
            f"{shares[1]}, with the best candidate {shares[2]}"
        )
    for name, weight in zip(NAMES, fit(crops), strict=True):
        print(f"    {name!r}: {weight:.3f},")


if __name__ == "__main__":
    main()
