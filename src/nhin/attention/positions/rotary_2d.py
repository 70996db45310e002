r"""Rotary positions on a grid: half of the pairs rotate with the row, half with the column.

.. math::
    \mathrm{angle}_i(row, column) = \begin{cases} row \cdot \theta_i & i < D/4 \\
        column \cdot \theta_{i - D/4} & i \ge D/4 \end{cases}, \qquad \theta_i = base^{-4i/D}

For features of an image read row by row. A score depends on the rows and columns between a query and a key,
so a pattern learned in one corner is known in every other, and an image of another size needs no new
parameters. Position :math:`p` is in row :math:`\lfloor p / columns \rfloor`, column :math:`p \bmod columns`.

Cost:    as ``rotary``.
Source:  Heo et al. 2024, arXiv:2403.13298 (axial form); Su et al. 2021, arXiv:2104.09864.
Differs: the base is 10000 as in text unless given; theirs is 100, for images of few rows.
Extends: Defined for any number of rows; works well on other sizes than trained on.
Use:     For features of images: scores depend on the rows and columns between two positions.
"""

import torch

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.errors import ShapeError
from nhin.ranges import check_size


class Rotary2d(Rotary):
    """Rotates heads by their row and column.

    Args:
        head_dim: Width of one head, a multiple of four.
        columns: Positions in a row of the grid.
        base: Longest wavelength over 2 pi, in rows or columns.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        columns: int = 16,
        base: float = 10000.0,
        context: int = 512,
        pairs: str = "half",
    ) -> None:
        if head_dim < 4 or head_dim % 4:
            raise ShapeError(
                f"head_dim is {head_dim}; half of its pairs rotate with the row and half with the column, "
                "so make it a multiple of 4"
            )
        self.columns = check_size("columns", columns)
        super().__init__(head_dim, base=base, context=context, pairs=pairs)

    def angles(self, positions: Positions) -> Angles:
        """Return the angle of each pair at each position, in float64."""
        speeds = inv_freq(self.head_dim // 2, self.base)
        row = positions.div(self.columns, rounding_mode="floor")
        column = positions - row * self.columns
        return torch.cat([row[:, None] * speeds, column[:, None] * speeds], 1)
