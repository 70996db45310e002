r"""Rotary positions: queries and keys turn with their place, so scores see only the distance.

.. math::
    (x_i, x_{i + D/2}) \mapsto (x_i \cos m\theta_i - x_{i + D/2} \sin m\theta_i,\;
                                x_{i + D/2} \cos m\theta_i + x_i \sin m\theta_i),
    \qquad \theta_i = base^{-2i/D}

Each pair of channels is a hand of a clock with its own speed. A dot product of two hands depends on the
angle between them, that is on :math:`m - n`, so nothing need be added to the inputs and every layer knows the
distance anew. It pays nearly everywhere and is the usual choice. Angles beyond those met in training are
strange to a model; ``far`` squeezes them: see ``interpolation``, ``ntk``, ``dynamic_ntk`` and ``yarn``.

Cost:    time O(T H D); a table of context x D cosines and as many sines.
Source:  Su et al. 2021, arXiv:2104.09864, eq. (34).
Differs: pairs are channel i and i + D/2 (the half convention of GPT-NeoX and LLaMA) unless
         ``pairs="interleaved"`` asks for 2i and 2i + 1 as in the paper; ``permute_heads`` goes between them.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from nhin.errors import ShapeError, UnknownName
from nhin.ranges import check_range

Positions = Float64[Tensor, " L"]
Angles = Float64[Tensor, "L pairs"]
RotaryQueries = Float[Tensor, "B L H D"]
RotaryKeys = Float[Tensor, "B L G D"]
PAIRS = ("half", "interleaved")


@runtime_checkable
class RopeScaling(Protocol):
    """How angles are squeezed so that places beyond the training length look like known ones."""

    @property
    def attention_scale(self) -> float:
        """What turned queries and keys are multiplied by; 1 leaves them."""
        ...

    def angles(self, positions: Positions, head_dim: int, base: float) -> Angles:
        """Return by how much each pair turns at each place."""
        ...


def inv_freq(head_dim: int, base: float) -> Float64[Tensor, " pairs"]:
    """Return the angle by which each pair turns from one place to the next."""
    return base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


class Rotary(nn.Module):
    """Turns heads by their place; the tables stay float32 whatever the module is cast to.

    Args:
        head_dim: Width of one head, even.
        base: Slowest wavelength over 2 pi, in places.
        context: Places tabled at first; the table doubles when a longer sequence comes.
        pairs: Which channels turn together: "half" for i and i + D/2, "interleaved" for 2i and 2i + 1.
        rope_scaling: How angles are squeezed beyond the training length; None leaves them.
    """

    cos_sin: Float[Tensor, "2 L D"]

    def __init__(
        self,
        head_dim: int,
        *,
        base: float = 10000.0,
        context: int = 512,
        pairs: str = "half",
        rope_scaling: RopeScaling | None = None,
    ) -> None:
        super().__init__()
        if head_dim < 2 or head_dim % 2:
            raise ShapeError(
                f"head_dim is {head_dim}; rotary positions turn pairs of channels, so make it even"
            )
        if pairs not in PAIRS:
            raise UnknownName("pairs", pairs, PAIRS)
        self.head_dim, self.base, self.pairs, self.rope_scaling = (
            head_dim,
            check_range("base", base, above=0),
            pairs,
            rope_scaling,
        )
        self._build_table(max(context, 1), None)

    def forward(self, x: RotaryQueries, *, start: int | Sequence[int] = 0) -> RotaryQueries:
        """Turn heads that stand at places ``start``, ``start + 1``, ...; the dtype stays.

        Args:
            x: Queries or keys.
            start: Place of the first, or one for each row of the batch.
        """
        self._ensure_length(x, start)
        cos, sin = (table_rows(table, start, x.shape[1]) for table in (self.cos, self.sin))
        return self._rotate(x, cos, sin)

    def rotate_qk(
        self, q: RotaryQueries, k: RotaryKeys, *, start: int | Sequence[int] = 0
    ) -> tuple[RotaryQueries, RotaryKeys]:
        """Turn queries and keys that stand at the same places."""
        if q.shape[1] != 1 or q.dtype != k.dtype:
            return self(q, start=start), self(k, start=start)
        # One place is little work and much calling: both at once take 18 us instead of 34, turned by half
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
        """The cosine of every angle, place by place."""
        return self.cos_sin[0, :, self.head_dim // 2 :]

    @property
    def sin(self) -> Float[Tensor, "L pairs"]:
        """The sine of every angle."""
        return self.cos_sin[1, :, self.head_dim // 2 :]

    def angles(self, positions: Positions) -> Angles:
        """Return by how much each pair turns at each place, in float64."""
        if self.rope_scaling is not None:
            return self.rope_scaling.angles(positions, self.head_dim, self.base)
        return positions[:, None] * inv_freq(self.head_dim, self.base)

    def _rotate(self, x: RotaryQueries, cos: Tensor, sin: Tensor) -> RotaryQueries:
        if self.pairs == "half":
            one, two = x.chunk(2, dim=-1)
            return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1).to(x.dtype)
        one, two = x[..., ::2], x[..., 1::2]
        turned = torch.stack([one * cos - two * sin, two * cos + one * sin], dim=-1)
        return turned.flatten(-2).to(x.dtype)

    def _ensure_length(self, x: Tensor, start: int | Sequence[int]) -> None:
        """Table as many places as are asked for."""
        stop = x.shape[1] + (start if isinstance(start, int) else max(start, default=0))
        # A compiled or exported graph cannot grow a table; slicing it too long fails there instead.
        if not torch.compiler.is_compiling() and stop > self.cos.shape[0]:
            self._build_table(max(stop, 2 * self.cos.shape[0]), self.cos.device)

    def _build_table(self, length: int, device: torch.device | None) -> None:
        gain = 1.0 if self.rope_scaling is None else self.rope_scaling.attention_scale
        with torch.inference_mode(False):
            angles = self.angles(torch.arange(length, dtype=torch.float64))
            cos, sin = (gain * angles.cos()).float(), (gain * angles.sin()).float()
            # For every channel what it and what its partner are multiplied by.
            whole = torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])
            self.register_buffer("cos_sin", whole.to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rotary":
        """Follow ``.to(device)`` but not ``.to(dtype)``: rounded tables misplace far tokens."""
        super()._apply(fn, recurse)
        self._build_table(self.cos.shape[0], self.cos.device)
        return self


def table_rows(table: Tensor, start: int | Sequence[int], length: int) -> Float[Tensor, "#B L 1 pairs"]:
    """Return a table's rows for ``length`` places from ``start``, ready to multiply heads by."""
    if isinstance(start, int):
        return table[None, start : start + length, None]
    places = torch.tensor(start, dtype=torch.long)[:, None] + torch.arange(length)
    return table[places.to(table.device)][:, :, None]
