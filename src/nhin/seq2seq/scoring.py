"""Scores of a model on pairs: exact targets, tokens, and how often the alignment finds the true origin."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nhin.data.pairs.batches import TokenTable, encode_rows
from nhin.data.pairs.pair import NO_ORIGIN, Pair
from nhin.metrics.statistics import ratio
from nhin.models.seq2seq.network import Seq2Seq
from nhin.text.charset import PAD

_BATCH = 128
NEIGHBOR = 1


@dataclass(frozen=True, slots=True)
class PairScores:
    """What a model got right of some pairs; counts, so that scores of several sets can be added.

    ``aligned`` counts the target tokens of known origin whose greatest weight lies on the origin or its
    neighbor; ``on_origin`` those where it lies on the origin itself.
    """

    pairs: int = 0
    exact: int = 0
    tokens: int = 0
    right: int = 0
    origins: int = 0
    aligned: int = 0
    on_origin: int = 0

    @property
    def accuracy(self) -> float:
        """The share of targets that are right to the last token."""
        return ratio(self.exact, self.pairs)

    @property
    def token_accuracy(self) -> float:
        """The share of right tokens, each given the true ones before it."""
        return ratio(self.right, self.tokens)

    @property
    def alignment_accuracy(self) -> float:
        """The share of target tokens that attend most to their origin or its neighbor."""
        return ratio(self.aligned, self.origins)

    def __add__(self, other: "PairScores") -> "PairScores":
        """Return the scores of both sets."""
        return PairScores(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@torch.no_grad()
def score_pairs(model: Seq2Seq, tables: tuple[TokenTable, TokenTable], pairs: Sequence[Pair]) -> PairScores:
    """Score a model on pairs.

    The decoder is given the true tokens before each: it is right at every one of them exactly when greedy
    decoding gives the target.
    """
    was_training = model.training
    model.eval()
    total = PairScores()
    # Of like lengths together, so that little is padded.
    ordered = sorted(pairs, key=lambda pair: (len(pair.source), len(pair.target)))
    for start in range(0, len(ordered), _BATCH):
        total += _score_batch(model, tables, ordered[start : start + _BATCH])
    model.train(was_training)
    return total


def _score_batch(model: Seq2Seq, tables: tuple[TokenTable, TokenTable], pairs: Sequence[Pair]) -> PairScores:
    device = model.head.weight.device
    source = torch.from_numpy(encode_rows(tables[0], [pair.source for pair in pairs])).to(device)
    target = torch.from_numpy(encode_rows(tables[1], [pair.target for pair in pairs], ends=True)).to(device)
    memory = model.encode(source)
    logits, queries, _ = model.decode(target[:, :-1], memory, model.start(memory))
    real = target[:, 1:] != PAD
    right = (logits.argmax(-1) == target[:, 1:]) & real
    gaps: list[int] = []
    if model.has_alignment:
        most = model.align(queries, memory).argmax(-1).tolist()
        for row, pair in zip(most, pairs, strict=True):
            known = zip(row, pair.origins, strict=False)
            gaps += [abs(i - origin) for i, origin in known if origin != NO_ORIGIN]
    return PairScores(
        pairs=len(pairs),
        exact=int((right | ~real).all(1).sum()),
        tokens=int(real.sum()),
        right=int(right.sum()),
        origins=len(gaps),
        aligned=sum(gap <= NEIGHBOR for gap in gaps),
        on_origin=gaps.count(0),
    )
