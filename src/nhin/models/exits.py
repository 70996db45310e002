r"""Dynamic depth: the head is trained on what every block makes, and a place that is sure goes no deeper.

.. math::
    L = \sum_l \frac{l}{\sum_j j}\, L_l, \qquad
    h_{l+1}[t] = h_l[t] \;\text{ once }\; \max_v \mathrm{softmax}(\mathrm{head}(h_l[t]))_v \ge c

A place that has left keeps its vector, and the keys and values that deeper blocks need of it are computed
from that. So its answer depends on nothing but the text before it, and reading step by step from a cache is
reading all at once, up to rounding: a place whose confidence lies on the threshold may go either way.

Cost:    in training a softmax over the vocabulary for every block. In reading the same until a place leaves;
         a step of a cache then spares the feed-forwards of the blocks that are left, not their attention,
         which must remember. It pays where the vocabulary is small beside a block's weights.
Source:  Schuster et al. 2022, arXiv:2207.07061 (CALM: weights of the loss, vectors kept); Elbayad et al.
         2020, arXiv:1910.10073.
Differs: sure is who gives a token the probability c, where CALM takes the distance of the two largest; one
         threshold for all places, not calibrated.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.base import State
from nhin.errors import UsageError
from nhin.layers.multihead import Wide
from nhin.models.design import Design
from nhin.models.gpt import GPT, Tokens, cross_entropy

NEVER = 1.0


class EarlyExits(GPT):
    """A GPT whose places may leave after any block; until ``confidence`` is set, none does.

    Args:
        vocab: Tokens there are.
        design: What it is made of; with blocks.

    Attributes:
        used: How many places went through 0, 1, ... depth blocks since it was last set to zero; counted where
            places may leave.
    """

    def __init__(self, vocab: int, design: Design) -> None:
        if not design.depth:
            raise UsageError("exits need blocks; give a depth of 1 or more")
        super().__init__(vocab, design)
        self._confidence = NEVER
        self.used = torch.zeros(design.depth + 1, dtype=torch.long)

    @property
    def confidence(self) -> float:
        """The probability of the likeliest token at which a place leaves; never from 1 on, or in training."""
        return self._confidence

    @confidence.setter
    def confidence(self, value: float) -> None:
        if not value >= 0:
            raise UsageError(f"confidence is {value}; give 0 (leave at once) to 1 (never)")
        self._confidence = value

    @property
    def mean_depth(self) -> float:
        """Blocks that the places counted in ``used`` went through on average; 0 where none was counted."""
        places = int(self.used.sum())
        return float((self.used * torch.arange(len(self.used))).sum()) / places if places else 0.0

    def through(
        self, x: Wide, cache: Sequence[State] | None = None, lengths: Sequence[int] | None = None
    ) -> Wide:
        """Put vectors through as many blocks as each needs."""
        if self.training or self.confidence >= NEVER:
            return super().through(x, cache, lengths)
        inside = _real(x, lengths)
        depths = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        for number, one in enumerate(self.each_block()):
            if inside.any():
                x = torch.where(inside[..., None], self.layer(number, x, cache, lengths), x)
                depths += inside
                inside = inside & ~self._sure(x) if number + 1 < len(self.blocks) else inside
            elif cache is not None:
                one.remember(x, cache[number], lengths)
        self.used += torch.bincount(depths[_real(x, lengths)], minlength=len(self.used)).cpu()
        return x

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the loss of all exits, the deeper the weightier; ``nats`` is that of the deepest alone."""
        x, total = self.embed(tokens), torch.zeros((), device=tokens.device)
        nats = total
        for number in range(self.design.depth):
            x = self.layer(number, x)
            nats = cross_entropy(self.scores(x), targets)
            total = total + (number + 1) * nats
        weights = self.design.depth * (self.design.depth + 1) / 2
        return self.parts(total / weights, self.balance()) | {"nats": nats.detach()}

    def _sure(self, x: Wide) -> Bool[Tensor, "B T"]:
        return self.scores(x).float().softmax(-1).amax(-1) >= self.confidence


def _real(x: Wide, lengths: Sequence[int] | None) -> Bool[Tensor, "B T"]:
    """Return which places are no padding."""
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return (torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]).to(x.device)
