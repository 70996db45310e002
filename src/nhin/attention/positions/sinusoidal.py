r"""Sines and cosines of the position, added to the inputs.

.. math::
    PE_{(pos, 2i)} = \sin(pos / 10000^{2i/C}), \qquad PE_{(pos, 2i+1)} = \cos(pos / 10000^{2i/C})

Cost:    a table of L x C numbers.
Source:  Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
Differs: nothing; angles are taken in float64 and the table is float32.
Extends: Defined for any length, but a model does poorly on positions it was not trained on.
Use:     For encoders of bounded length that should have no parameters for positions.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.tables import ComputedTables
from nhin.errors import ShapeError


def sinusoidal(length: int, dim: int) -> Float[Tensor, "L C"]:
    """Return the table for positions 0 to ``length - 1``."""
    if length < 0 or dim < 1:
        raise ShapeError(
            f"a table of {length} positions by {dim} channels cannot be; give length >= 0, dim >= 1"
        )
    rates = 10000.0 ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim].float()


class SinusoidalEmbedding(ComputedTables):
    """The table of ``length`` positions, as a module of a network."""

    table: Float[Tensor, "L C"]

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.sizes = length, dim
        self.build_tables()

    def compute_tables(self) -> dict[str, Tensor]:
        """Return the table."""
        return {"table": sinusoidal(*self.sizes)}
