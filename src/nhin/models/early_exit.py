r"""Early exit: the head is trained on the output of every block, and a confident token skips the deeper ones.

.. math::
    L = \sum_l \frac{l}{\sum_j j}\, L_l, \qquad
    h_{l+1}[t] = h_l[t] \;\text{ once }\; \max_v \mathrm{softmax}(\mathrm{head}(h_l[t]))_v \ge c

A token that has exited keeps its hidden state, and deeper blocks compute its keys and values from that. So
its output depends on the preceding text alone, and decoding with a cache gives what one pass gives, up to
rounding: a token whose confidence lies on the threshold may go either way.

Cost:    in training a softmax over the vocabulary for every block. In decoding the same until a token exits;
         the remaining blocks then skip their MLPs, but their attention still fills the caches. It pays where
         the vocabulary is small compared with the weights of a block.
Source:  Schuster et al. 2022, arXiv:2207.07061 (CALM: weights of the loss, hidden states kept); Elbayad et
         al. 2020, arXiv:1910.10073.
Differs: confident means a token has probability c, where CALM takes the difference of the two largest; one
         threshold for all positions, not calibrated.
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from nhin.errors import UsageError
from nhin.layers.multihead import Hidden
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT, Caches, Lengths, Tokens, cross_entropy

NEVER_EXIT = 1.0


class EarlyExitGPT(GPT):
    """A GPT whose tokens may exit after any block; until ``confidence`` is set, none does.

    Args:
        vocab: Number of tokens.
        config: Its settings; with blocks.

    Attributes:
        depth_counts: Tokens that went through 0, 1, ... depth blocks since it was last set to zero; counted
            while tokens may exit.
    """

    def __init__(self, vocab: int, config: ModelConfig) -> None:
        if not config.depth:
            raise UsageError("exits need blocks; give a depth of 1 or more")
        super().__init__(vocab, config)
        self._confidence = NEVER_EXIT
        self.depth_counts = torch.zeros(config.depth + 1, dtype=torch.long, device="cpu")

    @property
    def confidence(self) -> float:
        """Probability of the likeliest token at which to exit; from 1 on and in training none does."""
        return self._confidence

    @confidence.setter
    def confidence(self, value: float) -> None:
        if not value >= 0:
            raise UsageError(f"confidence is {value}; give 0 (exit at once) to 1 (never)")
        self._confidence = value

    @property
    def mean_depth(self) -> float:
        """Mean blocks per token of ``depth_counts``; 0 where none was counted."""
        tokens = int(self.depth_counts.sum())
        depths = torch.arange(len(self.depth_counts))
        return float((self.depth_counts * depths).sum()) / tokens if tokens else 0.0

    def run_blocks(self, x: Hidden, cache: Caches = None, lengths: Lengths = None) -> Hidden:
        """Apply to each token as many blocks as it needs."""
        if self.training or self.confidence >= NEVER_EXIT:
            return super().run_blocks(x, cache, lengths)
        active = valid = _valid_mask(x, lengths)
        depths = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        for index, block in enumerate(self.iter_blocks()):
            if active.any():
                x = torch.where(active[..., None], self.bind_block(index, cache, lengths)(x), x)
                depths += active
                active = active & ~self._is_confident(x) if index + 1 < len(self.blocks) else active
            elif cache is not None:
                block.fill_cache(x, cache[index], lengths)
        self.depth_counts += torch.bincount(depths[valid], minlength=len(self.depth_counts)).cpu()
        return x

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the loss of all exits, weighted by depth; ``nats`` is that of the last alone."""
        x, total = self.embed(tokens), torch.zeros((), device=tokens.device)
        nats = total
        for index in range(self.config.depth):
            x = self.bind_block(index)(x)
            nats = cross_entropy(self.logits(x), targets)
            total = total + (index + 1) * nats
        weights = self.config.depth * (self.config.depth + 1) / 2
        return self.combine_losses(total / weights, self.balance_loss()) | {"nats": nats.detach()}

    def _is_confident(self, x: Hidden) -> Bool[Tensor, "B T"]:
        return self.logits(x).float().softmax(-1).amax(-1) >= self.confidence


def _valid_mask(x: Hidden, lengths: Lengths) -> Bool[Tensor, "B T"]:
    """Return a mask that is False at padding."""
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return (torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]).to(x.device)
