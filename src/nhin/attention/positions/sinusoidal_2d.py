r"""Sines and cosines on a grid, added to the inputs: the first channels encode the row, the rest the column.

.. math::
    PE(row, column) = [\, PE_{C_r}(row) ;\; PE_{C_c}(column) \,], \qquad C_r = \lceil C / 2 \rceil,
    \quad C_c = \lfloor C / 2 \rfloor

with :math:`PE` that of ``sinusoidal``. For features of an image, whose neighbors above and below are far away
in the flattened sequence.

Cost:    a table of rows x columns x C numbers.
Source:  Parmar et al. 2018, arXiv:1802.05751; Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
Differs: sines and cosines alternate as in one dimension; an odd channel goes to the rows.
Extends: Defined for any grid.
Use:     For features of images, added once.
"""

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from nhin.attention.positions.sinusoidal import sinusoidal
from nhin.errors import ShapeError


def sinusoidal_2d(rows: int, columns: int, dim: int) -> Float[Tensor, "rows columns C"]:
    """Return the table for a grid.

    Args:
        rows: Height of the grid.
        columns: Width of the grid.
        dim: Channels, at least 2: ``dim - dim // 2`` for the row, ``dim // 2`` for the column.
    """
    if rows < 0 or columns < 0 or dim < 2:
        raise ShapeError(
            f"a table of {rows} rows by {columns} columns by {dim} channels cannot be; give rows >= 0, "
            "columns >= 0, dim >= 2"
        )
    down = repeat(sinusoidal(rows, dim - dim // 2), "rows c -> rows columns c", columns=columns)
    along = repeat(sinusoidal(columns, dim // 2), "columns c -> rows columns c", rows=rows)
    return torch.cat([down, along], dim=-1)
