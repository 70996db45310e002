"""Learned positions: one trained vector per position, added to the inputs.

Cost:    a table of context x C parameters; nothing is known beyond ``context``.
Source:  Gehring et al. 2017, arXiv:1705.03122; Radford et al. 2018 (GPT), who made it common.
Differs: nothing.
Extends: Not at all: there is no vector beyond the context it was built with.
Use:     For short texts of known maximum length.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nhin.errors import ShapeError


class LearnedEmbedding(nn.Module):
    """One vector for each of ``context`` positions."""

    def __init__(self, context: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(context, dim) * 0.02)

    def forward(self, length: int, *, start: int = 0) -> Float[Tensor, "L C"]:
        """Return the vectors of positions ``start`` to ``start + length - 1``."""
        if start < 0 or start + length > self.table.shape[0]:
            raise ShapeError(
                f"positions {start} to {start + length - 1} requested; context is {self.table.shape[0]}, "
                "so shorten the sequence or build with a larger context"
            )
        return self.table[start : start + length]
