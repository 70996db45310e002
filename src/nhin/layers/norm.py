"""Norms by name.

Source:  layer: Ba et al. 2016, arXiv:1607.06450; rms: Zhang and Sennrich 2019, arXiv:1910.07467;
         scale: Nguyen and Salazar 2019, arXiv:1910.05895, sec. 2.2.
Differs: nothing.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nhin.errors import UnknownName


class ScaleNorm(nn.Module):
    """Scales every vector to one learned length.

    Args:
        dim: Channels; the length starts at its square root, that of a vector of unit variance.
        eps: Least length to divide by, so that zeros stay zeros.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.tensor(dim**0.5))

    def forward(self, x: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        """Return vectors of one length."""
        return x * (self.weight / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(self.eps))


class HeadNorm(nn.RMSNorm):
    """RMS norm of the channels of a head; its gains follow the dtype of the input, as autocast changes it."""

    def forward(self, x: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest D"]:
        """Return normalized heads."""
        return F.rms_norm(x, self.normalized_shape, None, self.eps) * self.weight.to(x.dtype)


NORMS: dict[str, Callable[..., nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm, "scale": ScaleNorm}


def build_norm(name: str, dim: int, eps: float | None = None) -> nn.Module:
    """Build a norm over ``dim`` channels; ``eps`` is its own default when None.

    Raises:
        UnknownName: The name is not in ``NORMS``.
    """
    if name not in NORMS:
        raise UnknownName("norm", name, NORMS)
    return NORMS[name](dim) if eps is None else NORMS[name](dim, eps=eps)
