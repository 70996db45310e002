"""Norms by name."""

from collections.abc import Callable

from torch import nn

from nhin.errors import UnknownName

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
}


def norm(name: str, dim: int) -> nn.Module:
    """Build the norm of that name over ``dim`` channels.

    Raises:
        UnknownName: No norm is called that; the message offers near ones.
    """
    if name not in NORMS:
        raise UnknownName("norm", name, NORMS)
    return NORMS[name](dim)
