"""Norms by name.

Source:  layer: Ba et al. 2016, arXiv:1607.06450; rms: Zhang and Sennrich 2019, arXiv:1910.07467;
         scale: Nguyen and Salazar 2019, arXiv:1910.05895, sec. 2.2.
Differs: nothing.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nhin.errors import UnknownName

_EPS = 1e-5  # a place of zeros stays zeros


class ScaleNorm(nn.Module):
    """Gives every place one learned length, and leaves its direction.

    Args:
        dim: Channels; the length begins at its root, as that of a place of unit variance.
        eps: The least length that is divided by.
    """

    def __init__(self, dim: int, eps: float = _EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.tensor(dim**0.5))

    def forward(self, x: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        """Return places of one length."""
        return x * (self.weight / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(self.eps))


NORMS: dict[str, Callable[..., nn.Module]] = {
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
    "scale": ScaleNorm,
}


def build_norm(name: str, dim: int, eps: float | None = None) -> nn.Module:
    """Build the norm of that name over ``dim`` channels.

    Args:
        name: A name in ``NORMS``.
        dim: Channels.
        eps: What keeps it from dividing by zero; the norm's own when None.

    Raises:
        UnknownName: No norm is called that; the message offers near ones.
    """
    if name not in NORMS:
        raise UnknownName("norm", name, NORMS)
    return NORMS[name](dim) if eps is None else NORMS[name](dim, eps=eps)
