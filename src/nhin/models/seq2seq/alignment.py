"""Attention from decoder states to a source: the mechanisms of ``attention.alignment``, with one head."""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nhin.attention.registry import build
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.memory import Hidden, Memory


class SourceAttention(nn.Module):
    """Returns the context of each query: a mean of the source's states, by alignment weights."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        settings: dict[str, Any] = {"score": config.resolved_score, "context": config.context}
        if config.alignment != "global":
            settings["reach"] = config.reach
        self.counts_steps = config.alignment == "local-m"  # it is at the position of the step
        if self.counts_steps:
            settings["align"] = "start"
        self.mechanism = build(config.alignment, head_dim=config.dim, **settings)

    def forward(self, q: Hidden, memory: Memory, step: int) -> Hidden:
        """Attend from states of the decoder, the first of them at ``step``."""
        keys = memory.states[:, :, None]
        keep = None if bool(memory.keep.all()) else memory.keep
        more = {"start": step} if self.counts_steps else {}
        return self.mechanism(q[:, :, None], keys, keys, keep=keep, **more)[:, :, 0]

    def weights(self, q: Hidden, memory: Memory, step: int) -> Float[Tensor, "B T S"]:
        """Return the alignment weights of states of the decoder, the first of them at ``step``."""
        skipped = step if self.counts_steps else 0
        q = F.pad(q, (0, 0, skipped, 0))
        weights = self.mechanism.weights(q[:, :, None], memory.states[:, :, None], keep=memory.keep)
        return weights[:, 0, skipped:]
