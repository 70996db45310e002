r"""Mixture of experts: many MLPs, a few of which process each token.

.. math::
    y = \sum_{e \in \mathrm{top}_k(g)} \frac{g_e}{\sum_{\mathrm{top}_k} g}\, \mathrm{FFN}_e(x), \qquad
    g = \mathrm{softmax}(W_r x), \qquad
    L_{balance} = E \sum_e f_e\, \bar g_e

``f_e`` is the fraction of assignments to expert e, ``\bar g_e`` its mean gate; the loss is 1 where all
experts are used alike and grows to E where one is always used. Where several processes each take an equal
part of a batch, ``average`` gives the ``f_e`` of all of them. The loss is linear in the gates, so the mean of
their losses, and of the gradients, is then that of the whole batch. A batch whose gradients are accumulated
in parts has the mean loss of the parts, each with its own ``f_e``.

Cost:    the weights of E MLPs, the time of ``active`` of them.
Source:  Shazeer et al. 2017, arXiv:1701.06538; the balance loss: Fedus et al. 2021, arXiv:2101.03961, eq. 4.
Differs: no capacity limit, so no token is dropped; no noise on the gates; where only one expert is chosen,
         its gate is not scaled to one (Fedus et al., eq. 2).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nhin.attention.masked_softmax import is_transformed
from nhin.layers.mlp import activate, compute_hidden_dim
from nhin.ranges import check_range


class MixtureOfExperts(nn.Module):
    """MLPs of which every token uses ``top_k``.

    Args:
        dim: Width of inputs and outputs.
        experts: Number of MLPs.
        top_k: Experts per token.
        mlp_ratio: Hidden width of each over ``dim``.
        activation: A name in ``mlp.ACTIVATIONS``.
        dropout: Probability of dropping an output channel.
        hidden_dim: Hidden width of each, instead of ``mlp_ratio``.

    ``average``, where set, replaces a tensor in training by its mean over all processes.
    """

    average: Callable[[Tensor], Tensor] | None = None

    def __init__(
        self,
        dim: int,
        experts: int,
        *,
        top_k: int = 2,
        mlp_ratio: int = 4,
        activation: str = "gelu",
        dropout: float = 0.0,
        hidden_dim: int | None = None,
    ) -> None:
        super().__init__()
        hidden_dim = hidden_dim or compute_hidden_dim(dim, mlp_ratio, activation)
        self.experts, self.top_k = experts, check_range("top_k", top_k, 1, experts)
        self.activation = activation
        self.router = nn.Linear(dim, experts, bias=False)
        wide = 2 * hidden_dim if activation == "swiglu" else hidden_dim
        self.up_proj = nn.Parameter(torch.empty(experts, wide, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.down_proj = nn.Parameter(
            torch.empty(experts, dim, hidden_dim).uniform_(-(hidden_dim**-0.5), hidden_dim**-0.5)
        )
        self.dropout = nn.Dropout(dropout)
        self.balance_loss: Float[Tensor, ""] | None = None

    def forward(self, x: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        """Apply its experts to every token; ``balance`` then holds the balance loss of this call."""
        tokens = x.flatten(0, -2)
        gates = self._route(tokens)
        top_gates, indices = gates.topk(self.top_k, dim=-1)
        self.balance_loss = self._compute_balance_loss(gates, indices)
        # A single weight scaled to one would carry no gradient to the router.
        weights = (top_gates if self.top_k == 1 else top_gates / top_gates.sum(-1, keepdim=True)).to(x.dtype)
        out = torch.zeros_like(tokens)
        for expert in range(self.experts):
            if is_transformed():
                # How many tokens an expert has is not known there: it gets all, most with weight zero.
                share = (weights * (indices == expert)).sum(-1, keepdim=True)
                out = out + (self._run_expert(expert, tokens) * share).to(out.dtype)
                continue
            token, slot = (indices == expert).nonzero(as_tuple=True)
            expert_out = self._run_expert(expert, tokens[token]) * weights[token, slot, None]
            out = out.index_add(0, token, expert_out.to(out.dtype))
        return self.dropout(out.view_as(x))

    def _run_expert(self, expert: int, x: Float[Tensor, "tokens C"]) -> Float[Tensor, "tokens C"]:
        hidden = activate(x @ self.up_proj[expert].T, self.activation)
        return hidden @ self.down_proj[expert].T

    def _route(self, tokens: Float[Tensor, "tokens C"]) -> Float[Tensor, "tokens E"]:
        """Return the gates; in float32, since bfloat16 cannot tell close experts apart."""
        wide = torch.promote_types(tokens.dtype, torch.float32)
        with torch.autocast(tokens.device.type, enabled=False):
            return F.linear(tokens.to(wide), self.router.weight.to(wide)).softmax(-1)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the balance loss: its graph cannot be copied."""
        return self.__dict__ | {"balance_loss": None}

    def _compute_balance_loss(self, gates: Float[Tensor, "tokens E"], indices: Tensor) -> Float[Tensor, ""]:
        if not len(gates):
            return gates.sum() + 1.0
        if is_transformed():
            used = indices.flatten()[:, None] == torch.arange(self.experts, device=indices.device)
            fraction = used.to(gates.dtype).mean(0)
        else:
            fraction = torch.bincount(indices.flatten(), minlength=self.experts) / indices.numel()
        if self.average is not None and self.training:
            fraction = self.average(fraction)
        return self.experts * (fraction.to(gates.dtype) * gates.mean(0)).sum()
