"""Two linear layers with a bend between them, applied to every place alone.

Source:  Vaswani et al. 2017, arXiv:1706.03762, section 3.3; GELU: Hendrycks 2016, arXiv:1606.08415.
Differs: GELU in place of ReLU.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Widens ``expand`` times, bends with GELU, narrows again.

    Args:
        dim: Width of inputs and outputs.
        expand: Inner width over ``dim``.
        dropout: Chance of dropping an output channel.
    """

    def __init__(self, dim: int, *, expand: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.widen = nn.Linear(dim, expand * dim)
        self.narrow = nn.Linear(expand * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        """Transform every place by itself."""
        return self.dropout(self.narrow(F.gelu(self.widen(x))))
