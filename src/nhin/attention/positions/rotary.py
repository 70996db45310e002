r"""Rotary positions: queries and keys are rotated by their position, so scores depend on the distance only.

.. math::
    (x_i, x_{i + D/2}) \mapsto (x_i \cos m\theta_i - x_{i + D/2} \sin m\theta_i,\;
                                x_{i + D/2} \cos m\theta_i + x_i \sin m\theta_i),
    \qquad \theta_i = base^{-2i/D}

Each pair of channels rotates at its own speed. A dot product of two pairs depends on the angle between them,
that is on :math:`m - n`, so nothing need be added to the inputs and every layer knows the distance. It is the
usual choice. A model cannot use angles beyond those seen in training; ``interpolation``, ``ntk``,
``dynamic_ntk`` and ``yarn`` compress them.

Cost:    time O(T H D); a table of context x D cosines and as many sines.
Source:  Su et al. 2021, arXiv:2104.09864, eq. (34).
Differs: pairs are channel i and i + D/2 (the half convention of GPT-NeoX and LLaMA) unless
         ``pairs="interleaved"`` asks for 2i and 2i + 1 as in the paper; ``permute_heads`` converts between
         them.
Extends: Defined for any length; outputs worsen soon after the trained length.
Use:     By default: every layer knows the distance, and caches stay valid.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from nhin.attention.tables import ComputedTables
from nhin.errors import ShapeError, UnknownName
from nhin.ranges import check_range

Positions = Float64[Tensor, " L"]
Angles = Float64[Tensor, "L pairs"]
RotaryQueries = Float[Tensor, "B L H D"]
RotaryKeys = Float[Tensor, "B L G D"]
PAIRS = ("half", "interleaved")


def inv_freq(head_dim: int, base: float) -> Float64[Tensor, " pairs"]:
    """Return the angle of each pair from one position to the next."""
    return base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


class Rotary(ComputedTables):
    """Rotates heads by their position; the tables stay float32 when the module is cast.

    Args:
        head_dim: Width of one head, even.
        base: Longest wavelength over 2 pi, in positions.
        context: Initial length of the table, which doubles when a longer sequence comes.
        pairs: Which channels rotate together: "half" for i and i + D/2, "interleaved" for 2i and 2i + 1.
    """

    cos_sin: Float[Tensor, "2 L D"]
    attention_scale: float = 1.0  # of rotated queries and keys

    def __init__(
        self, head_dim: int, *, base: float = 10000.0, context: int = 512, pairs: str = "half"
    ) -> None:
        super().__init__()
        if head_dim < 2 or head_dim % 2:
            raise ShapeError(
                f"head_dim is {head_dim}; rotary positions rotate pairs of channels, so make it even"
            )
        if pairs not in PAIRS:
            raise UnknownName("pairs", pairs, PAIRS)
        self.head_dim, self.base, self.pairs = head_dim, check_range("base", base, above=0), pairs
        self.table_length = max(context, 1)
        self.build_tables()

    def forward(self, x: RotaryQueries, *, start: int | Sequence[int] = 0) -> RotaryQueries:
        """Rotate queries or keys at positions ``start``, ``start + 1``, ... without changing the dtype.

        Args:
            x: Queries or keys.
            start: Position of the first, or one for each row of the batch.
        """
        self._ensure_length(x, start)
        cos, sin = (table_rows(table, start, x.shape[1]) for table in (self.cos, self.sin))
        return self._rotate(x, cos, sin)

    def rotate_qk(
        self, q: RotaryQueries, k: RotaryKeys, *, start: int | Sequence[int] = 0
    ) -> tuple[RotaryQueries, RotaryKeys]:
        """Rotate queries and keys of the same positions."""
        if q.shape[1] != 1 or q.dtype != k.dtype:
            return self(q, start=start), self(k, start=start)
        # For one position the calls cost more than the work: together they take 18 us instead of 34, by half
        # as many operations 13.
        both = torch.cat([q, k], dim=2)
        if isinstance(start, int) and self.pairs == "half":
            self._ensure_length(both, start)
            cos, sin = self.cos_sin.narrow(1, start, 1).unbind()
            both = (both * cos + both.roll(self.head_dim // 2, -1) * sin).to(q.dtype)
        else:
            both = self(both, start=start)
        q, k = both.split((q.shape[2], k.shape[2]), 2)
        return q, k

    @property
    def cos(self) -> Float[Tensor, "L pairs"]:
        """The cosine of every angle, by position."""
        return self.cos_sin[0, :, self.head_dim // 2 :]

    @property
    def sin(self) -> Float[Tensor, "L pairs"]:
        """The sine of every angle."""
        return self.cos_sin[1, :, self.head_dim // 2 :]

    def angles(self, positions: Positions) -> Angles:
        """Return the angle of each pair at each position, in float64."""
        return positions[:, None] * inv_freq(self.head_dim, self.base)

    def _rotate(self, x: RotaryQueries, cos: Tensor, sin: Tensor) -> RotaryQueries:
        if self.pairs == "half":
            one, two = x.chunk(2, dim=-1)
            return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1).to(x.dtype)
        one, two = x[..., ::2], x[..., 1::2]
        rotated = torch.stack([one * cos - two * sin, two * cos + one * sin], dim=-1)
        return rotated.flatten(-2).to(x.dtype)

    def _ensure_length(self, x: Tensor, start: int | Sequence[int]) -> None:
        """Grow the table to the needed length."""
        stop = x.shape[1] + (start if isinstance(start, int) else max(start, default=0))
        # A compiled or exported graph cannot grow a table; slicing it too long fails there instead.
        if not torch.compiler.is_compiling() and stop > self.cos_sin.shape[1]:
            self.table_length = max(stop, 2 * self.table_length)
            self.build_tables(self.cos_sin.device)

    def compute_tables(self) -> dict[str, Tensor]:
        """Return the factors of every channel and of its partner, at every position."""
        angles = self.angles(torch.arange(self.table_length, dtype=torch.float64))
        cos, sin = ((self.attention_scale * x).float() for x in (angles.cos(), angles.sin()))
        return {"cos_sin": torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])}


def table_rows(table: Tensor, start: int | Sequence[int], length: int) -> Float[Tensor, "#B L 1 pairs"]:
    """Return a table's rows for ``length`` positions from ``start``, broadcast over heads."""
    if isinstance(start, int):
        return table[None, start : start + length, None]
    positions = torch.tensor(start, dtype=torch.long)[:, None] + torch.arange(length)
    return table[positions.to(table.device)][:, :, None]
