r"""Mixture of experts: many feed-forwards, of which every place uses a few.

.. math::
    y = \sum_{e \in \mathrm{top}_k(g)} \frac{g_e}{\sum_{\mathrm{top}_k} g}\, \mathrm{FFN}_e(x), \qquad
    g = \mathrm{softmax}(W_r x), \qquad
    L_{balance} = E \sum_e f_e\, \bar g_e

``f_e`` is the share of choices that fell on expert e, ``\bar g_e`` its mean gate; the loss is 1 where all are
used alike and grows to E where one does all the work.

Cost:    the weights of E feed-forwards, the time of ``active`` of them.
Source:  Shazeer et al. 2017, arXiv:1701.06538; the balance loss: Fedus et al. 2021, arXiv:2101.03961, eq. 4.
Differs: no capacity: a place is never dropped, however many choose its expert; no noise on the gates; where
         only one is chosen, its gate is not scaled to one (Fedus et al., eq. 2).
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nhin.errors import UsageError
from nhin.layers.mlp import activate, compute_hidden_dim


class MixtureOfExperts(nn.Module):
    """Feed-forwards of which every place uses ``active``.

    Args:
        dim: Width of inputs and outputs.
        experts: How many there are.
        active: How many a place uses.
        expand: Inner width over ``dim``, of each.
        activation: A name in ``feedforward.BENDS``.
        dropout: Chance of dropping an output channel.
        inner: Inner width of each, where ``expand`` does not say it.
    """

    def __init__(
        self,
        dim: int,
        experts: int,
        *,
        active: int = 2,
        expand: int = 4,
        activation: str = "gelu",
        dropout: float = 0.0,
        inner: int | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= active <= experts:
            raise UsageError(f"active is {active}; give 1 to {experts}, the number of experts")
        inner = inner or compute_hidden_dim(dim, expand, activation)
        self.experts, self.active, self.activation = experts, active, activation
        self.router = nn.Linear(dim, experts, bias=False)
        wide = 2 * inner if activation == "swiglu" else inner
        self.widen = nn.Parameter(torch.empty(experts, wide, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.narrow = nn.Parameter(torch.empty(experts, dim, inner).uniform_(-(inner**-0.5), inner**-0.5))
        self.dropout = nn.Dropout(dropout)
        self.balance: Float[Tensor, ""] | None = None

    def forward(self, x: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        """Transform every place by its experts; ``balance`` then holds the balance loss of this call."""
        places = x.flatten(0, -2)
        gates = self._route(places)
        best, chosen = gates.topk(self.active, dim=-1)
        self.balance = self._compute_balance_loss(gates, chosen)
        # A single share scaled to one would not hang on the router, which then learned nothing.
        shares = (best if self.active == 1 else best / best.sum(-1, keepdim=True)).to(x.dtype)
        out = torch.zeros_like(places)
        for expert in range(self.experts):
            place, slot = (chosen == expert).nonzero(as_tuple=True)
            inside = activate(places[place] @ self.widen[expert].T, self.activation)
            made = (inside @ self.narrow[expert].T) * shares[place, slot, None]
            out = out.index_add(0, place, made.to(out.dtype))
        return self.dropout(out.view_as(x))

    def _route(self, tokens: Float[Tensor, "places C"]) -> Float[Tensor, "places E"]:
        """Return the share of every expert; which is chosen should not hang on bfloat16's three digits."""
        wide = torch.promote_types(tokens.dtype, torch.float32)
        with torch.autocast(tokens.device.type, enabled=False):
            return F.linear(tokens.to(wide), self.router.weight.to(wide)).softmax(-1)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the balance, which hangs on a graph that cannot be copied."""
        return self.__dict__ | {"balance": None}

    def _compute_balance_loss(self, gates: Float[Tensor, "places E"], indices: Tensor) -> Float[Tensor, ""]:
        if not len(gates):
            return gates.sum() + 1.0
        share = torch.bincount(indices.flatten(), minlength=self.experts) / indices.numel()
        return self.experts * (share.to(gates.dtype) * gates.mean(0)).sum()
