r"""Rotary positions that rotate adjacent channels together, and the conversion between the two conventions.

.. math::
    (x_{2i}, x_{2i+1}) \mapsto (x_{2i} \cos m\theta_i - x_{2i+1} \sin m\theta_i,\;
                                x_{2i+1} \cos m\theta_i + x_{2i} \sin m\theta_i),
    \qquad \theta_i = base^{-2i/D}

RoFormer, GPT-J, PaLM and the first LLaMA files pair channel 2i with 2i + 1; GPT-NeoX and Hugging Face's LLaMA
pair i with i + D/2. A model trained in one convention and run in the other is wrong without an error: every
score differs. The two differ by an order of channels within each head, the same for queries and keys, so a
checkpoint changes convention by reordering the rows of its query and key projections once.

Cost:    as ``rotary``.
Source:  Su et al. 2021, arXiv:2104.09864, eq. (34).
Differs: nothing.
Extends: As rotary.
Use:     For checkpoints in the paper's convention: RoFormer, GPT-J, PaLM.
"""

import torch
from torch import Tensor

from nhin.attention.positions.rotary import PAIRS, Rotary
from nhin.errors import ShapeError, UnknownName


def rotary_interleaved(head_dim: int, *, base: float = 10000.0, context: int = 512) -> Rotary:
    """Build rotary positions over pairs 2i and 2i + 1; see ``Rotary``."""
    return Rotary(head_dim, base=base, context=context, pairs="interleaved")


def permute_heads(x: Tensor, head_dim: int, *, to: str, axis: int = 0) -> Tensor:
    """Reorder the channels of every head from one convention to the other.

    Args:
        x: A projection's weight or bias (heads along axis 0), or queries or keys (channels along axis -1).
        head_dim: Width of one head.
        to: "half" or "interleaved": the convention of the result.
        axis: The axis of the channels, head after head.

    Raises:
        ShapeError: The axis does not consist of complete heads of even width.
        UnknownName: There is no such convention.
    """
    if to not in PAIRS:
        raise UnknownName("pairs", to, PAIRS)
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"axis is {axis}; x has shape {tuple(x.shape)}, so give one of its axes")
    if head_dim < 2 or head_dim % 2 or x.shape[axis] % head_dim:
        raise ShapeError(
            f"head_dim is {head_dim} and axis {axis} of x has {x.shape[axis]} channels; give an even "
            "head_dim that divides them"
        )
    order = torch.arange(head_dim, device=x.device).unflatten(0, (-1, 2)).T.flatten()
    order = order if to == "half" else order.argsort()
    heads = torch.arange(0, x.shape[axis], head_dim, device=x.device)
    return x.index_select(axis, (heads[:, None] + order).flatten())
