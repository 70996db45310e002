r"""MLP: expand every position, apply an activation, project back.

.. math::
    \text{gelu}: W_2\, \mathrm{GELU}(W_1 x) \qquad
    \text{gelu-tanh}: \text{the same with } \tfrac{x}{2} (1 + \tanh \sqrt{2/\pi} (x + 0.044715 x^3)) \qquad
    \text{relu2}: W_2\, \max(0, W_1 x)^2 \qquad
    \text{swiglu}: W_2 (\mathrm{SiLU}(W_g x) \odot W_1 x)

Source:  Vaswani et al. 2017, arXiv:1706.03762, section 3.3; GELU: Hendrycks 2016, arXiv:1606.08415; squared
         ReLU: So et al. 2021, arXiv:2109.08668; SwiGLU: Shazeer 2020, arXiv:2002.05202.
Differs: SwiGLU's hidden width is two thirds of the others', rounded up to 8, so that all have about as many
         weights.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nhin.errors import UnknownName

ACTIVATIONS = ("gelu", "gelu-tanh", "relu2", "swiglu")


class MLP(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        dim: Width of inputs and outputs.
        mlp_ratio: Hidden width over ``dim``.
        activation: A name in ``ACTIVATIONS``; gelu-tanh is GPT-2's GELU.
        bias: Give the linear layers a bias.
        dropout: Probability of dropping an output channel.
        hidden_dim: Hidden width, instead of ``mlp_ratio``.
    """

    def __init__(
        self,
        dim: int,
        *,
        mlp_ratio: int = 4,
        activation: str = "gelu",
        bias: bool = True,
        dropout: float = 0.0,
        hidden_dim: int | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UnknownName("activation of an MLP", activation, ACTIVATIONS)
        hidden_dim = hidden_dim or compute_hidden_dim(dim, mlp_ratio, activation)
        self.activation = activation
        self.up_proj = nn.Linear(dim, 2 * hidden_dim if activation == "swiglu" else hidden_dim, bias=bias)
        self.down_proj = nn.Linear(hidden_dim, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        """Transform every position by itself."""
        return self.dropout(self.down_proj(activate(self.up_proj(x), self.activation)))


def compute_hidden_dim(dim: int, mlp_ratio: int, activation: str) -> int:
    """Return the hidden width of an MLP."""
    return mlp_ratio * dim if activation != "swiglu" else -(-mlp_ratio * dim * 2 // 3 // 8) * 8


def activate(x: Float[Tensor, "*rest wide"], activation: str) -> Float[Tensor, "*rest inner"]:
    """Apply an activation; for SwiGLU the first half of the channels is the gate of the second."""
    if activation == "gelu":
        return F.gelu(x)
    if activation == "gelu-tanh":
        return F.gelu(x, approximate="tanh")
    if activation == "relu2":
        return F.relu(x).square()
    gate, values = x.chunk(2, dim=-1)
    return F.silu(gate) * values
