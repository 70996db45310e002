r"""Muon for matrices and AdamW for all other parameters, as one optimizer with one state.

.. math::
    M_t = \mu M_{t-1} + G_t, \qquad
    W_t = (1 - \eta \lambda) W_{t-1} - 0.2\, \eta \sqrt{\max(m, n)}\; \mathrm{orth}(G_t + \mu M_t)

``orth`` sets all singular values to about 1 by a few steps of an odd polynomial, with matrix products only.
The factor makes updates as large as AdamW's, so that one rate serves both.

Source:  Jordan et al. 2024, Muon: An optimizer for hidden layers; the factor: Liu et al. 2025,
         arXiv:2502.16982; AdamW: Loshchilov and Hutter 2017, arXiv:1711.05101.
Differs: matrices of one shape are orthogonalized in one batch, and those fused in one parameter (keys and
         values, gates, experts) separately; ``torch.optim.Muon`` takes one parameter at a time.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import AdamW, Optimizer

from nhin.training.fsdp import full_tensor, shard_like

STEPS = 5
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)
_LIKE_ADAMW = 0.2

Stack = Float[Tensor, "matrices rows columns"]


def orthogonalize(matrices: Stack, steps: int = STEPS, dtype: torch.dtype | None = None) -> Stack:
    """Return matrices with the same singular vectors and singular values of about 1 (0.7 to 1.2).

    Args:
        matrices: A batch of matrices.
        steps: How often the polynomial is applied.
        dtype: The dtype to compute in; that of the matrices when None.
    """
    a, b, c = _POLYNOMIAL
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype or matrices.dtype)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(AdamW):
    """Updates parameter groups with ``matrices`` above 0 by Muon, and the others by AdamW.

    Args:
        groups: Each with ``params``, ``matrices`` (how many lie in each parameter), and settings of its own.
        lr: The learning rate.
        momentum: Of Muon.
        betas: Of AdamW.
        weight_decay: Of both.
        steps: See ``orthogonalize``.
        dtype: See ``orthogonalize``.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.0,
        steps: int = STEPS,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._dtype = dtype
        filled = [{"matrices": 0, "momentum": momentum, "steps": steps, **group} for group in groups]
        super().__init__(filled, lr, betas, weight_decay=weight_decay)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load a saved state; AdamW's own method expects AdamW's state for every parameter."""
        Optimizer.__setstate__(self, state)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Update every parameter that has a gradient."""
        groups = self.param_groups
        for group in groups:
            if group["matrices"]:
                self._step_matrices([p for p in group["params"] if p.grad is not None], group)
        try:
            self.param_groups = [group for group in groups if not group["matrices"]]
            super().step(closure)
        finally:
            self.param_groups = groups

    def _step_matrices(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """Update matrices by orthogonalized gradients, those of one shape in one batch."""
        shapes: dict[tuple[int, int], list[tuple[Tensor, Stack]]] = {}
        for p in params:
            update = as_matrices(full_tensor(self._nesterov(p, group["momentum"])), group["matrices"])
            shapes.setdefault((update.shape[1], update.shape[2]), []).append((p, update))
        for shape, members in shapes.items():
            size = -group["lr"] * _LIKE_ADAMW * max(shape) ** 0.5
            updates = [update for _, update in members]
            orthogonal = orthogonalize(torch.cat(updates), group["steps"], self._dtype)
            parts = orthogonal.split([len(update) for update in updates])
            for (p, _), part in zip(members, parts, strict=True):
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.add_(shard_like(part.reshape(p.shape), p), alpha=size)

    def _nesterov(self, p: Tensor, momentum: float) -> Tensor:
        """Add a gradient to its momentum; return the Nesterov update."""
        assert p.grad is not None
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        buffer = state["momentum_buffer"].mul_(momentum).add_(p.grad)
        return p.grad.add(buffer, alpha=momentum)


def as_matrices(x: Tensor, matrices: int) -> Stack:
    """Split a parameter into the matrices that are stacked in it."""
    return x.reshape(-1, x.shape[-2] // matrices, x.shape[-1])
