"""Optimizers with weight decay on some parameters only."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW

from nhin.training.muon import Muon


def build_adamw(
    model: nn.Module,
    rate: float,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.98),
) -> AdamW:
    """Build AdamW with weight decay on matrices and kernels, not on norms, biases and embeddings."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1 and id(p) not in embeddings]
    free = [p for p in trained if p.ndim <= 1 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return AdamW([group for group in groups if group["params"]], lr=rate, betas=betas)


def build_muon(
    model: nn.Module,
    matrices: Mapping[Tensor, int],
    rate: float,
    scale: float = 1.0,
    **settings: Any,
) -> Muon:
    """Build Muon for some matrices, and AdamW without weight decay for all other parameters.

    Args:
        model: The model to train.
        matrices: The parameters for Muon, with the number of matrices in each.
        rate: The schedule's peak.
        scale: Muon's rate as a multiple of it.
        **settings: Other arguments of ``Muon``.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if matrices.get(p) == count], "matrices": count, "scale": scale}
        for count in sorted(set(matrices.values()))
    ]
    groups.append({"params": [p for p in trained if p not in matrices], "weight_decay": 0.0})
    return Muon([group for group in groups if group["params"]], rate, **settings)
