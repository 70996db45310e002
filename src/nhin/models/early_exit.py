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

from nhin.attention.base import Cache
from nhin.errors import UsageError
from nhin.layers.multihead import Hidden
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT, Tokens, cross_entropy

NEVER_EXIT = 1.0


class EarlyExitGPT(GPT):
    """A GPT whose places may leave after any block; until ``confidence`` is set, none does.

    Args:
        vocab: Tokens there are.
        config: What it is made of; with blocks.

    Attributes:
        used: How many places went through 0, 1, ... depth blocks since it was last set to zero; counted where
            places may leave.
    """

    def __init__(self, vocab: int, config: ModelConfig) -> None:
        if not config.depth:
            raise UsageError("exits need blocks; give a depth of 1 or more")
        super().__init__(vocab, config)
        self._confidence = NEVER_EXIT
        self.depth_counts = torch.zeros(config.depth + 1, dtype=torch.long)

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
        places = int(self.depth_counts.sum())
        return (
            float((self.depth_counts * torch.arange(len(self.depth_counts))).sum()) / places
            if places
            else 0.0
        )

    def run_blocks(
        self, x: Hidden, cache: Sequence[Cache] | None = None, lengths: Sequence[int] | None = None
    ) -> Hidden:
        """Put vectors through as many blocks as each needs."""
        if self.training or self.confidence >= NEVER_EXIT:
            return super().run_blocks(x, cache, lengths)
        inside = _valid_mask(x, lengths)
        depths = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        for number, one in enumerate(self.iter_blocks()):
            if inside.any():
                x = torch.where(inside[..., None], self.run_block(number, x, cache, lengths), x)
                depths += inside
                inside = inside & ~self._is_confident(x) if number + 1 < len(self.blocks) else inside
            elif cache is not None:
                one.fill_cache(x, cache[number], lengths)
        self.depth_counts += torch.bincount(
            depths[_valid_mask(x, lengths)], minlength=len(self.depth_counts)
        ).cpu()
        return x

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the loss of all exits, the deeper the weightier; ``nats`` is that of the deepest alone."""
        x, total = self.embed(tokens), torch.zeros((), device=tokens.device)
        nats = total
        for number in range(self.config.depth):
            x = self.run_block(number, x)
            nats = cross_entropy(self.logits(x), targets)
            total = total + (number + 1) * nats
        weights = self.config.depth * (self.config.depth + 1) / 2
        return self.combine_losses(total / weights, self.balance_loss()) | {"nats": nats.detach()}

    def _is_confident(self, x: Hidden) -> Bool[Tensor, "B T"]:
        return self.logits(x).float().softmax(-1).amax(-1) >= self.confidence


def _valid_mask(x: Hidden, lengths: Sequence[int] | None) -> Bool[Tensor, "B T"]:
    """Return which places are no padding."""
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return (torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]).to(x.device)
