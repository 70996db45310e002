r"""Rotary positions: queries and keys turn with their place, so scores see only the distance.

.. math::
    (x_i, x_{i + D/2}) \mapsto (x_i \cos m\theta_i - x_{i + D/2} \sin m\theta_i,\;
                                x_{i + D/2} \cos m\theta_i + x_i \sin m\theta_i),
    \qquad \theta_i = base^{-2i/D}

Cost:    time O(T H D); a table of context x D/2 cosines and as many sines.
Source:  Su et al. 2021, arXiv:2104.09864, eq. (34).
Differs: pairs are channel i and i + D/2 (the half convention of GPT-NeoX and LLaMA), not 2i and 2i + 1.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nhin.errors import ShapeError


class Rotary(nn.Module):
    """Turns heads by their place; the tables stay float32 whatever the module is cast to.

    Args:
        head_dim: Width of one head, even.
        base: Slowest wavelength over 2 pi, in places.
        context: Places tabled at first; the table doubles when a longer sequence comes.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, *, base: float = 10000.0, context: int = 512) -> None:
        super().__init__()
        if head_dim < 2 or head_dim % 2:
            raise ShapeError(
                f"head_dim is {head_dim}; rotary positions turn pairs of channels, so make it even"
            )
        self.head_dim, self.base = head_dim, base
        self._table(context, None)

    def forward(
        self, x: Float[Tensor, "B L H D"], *, start: int | Sequence[int] = 0
    ) -> Float[Tensor, "B L H D"]:
        """Turn heads that stand at places ``start``, ``start + 1``, ...; the dtype stays.

        Args:
            x: Queries or keys.
            start: Place of the first, or one for each row of the batch.
        """
        first = start if isinstance(start, int) else max(start, default=0)
        stop = first + x.shape[1]
        # A compiled or exported graph cannot grow a table; slicing it too long fails there instead.
        if not torch.compiler.is_compiling() and stop > self.cos.shape[0]:
            self._table(max(stop, 2 * self.cos.shape[0]), self.cos.device)
        if isinstance(start, int):
            cos, sin = self.cos[start:stop, None], self.sin[start:stop, None]
        else:
            places = torch.tensor(start)[:, None] + torch.arange(x.shape[1])
            cos, sin = (table[places.to(table.device)][:, :, None] for table in (self.cos, self.sin))
        one, two = x.chunk(2, dim=-1)
        return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1).to(x.dtype)

    def _table(self, places: int, device: torch.device | None) -> None:
        with torch.inference_mode(False):
            rates = self.base ** -(torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim)
            angles = torch.arange(places, dtype=torch.float64)[:, None] * rates
            self.register_buffer("cos", angles.cos().float().to(device), persistent=False)
            self.register_buffer("sin", angles.sin().float().to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rotary":
        """Follow ``.to(device)`` but not ``.to(dtype)``: rounded tables misplace far tokens."""
        super()._apply(fn, recurse)
        self._table(self.cos.shape[0], self.cos.device)
        return self
