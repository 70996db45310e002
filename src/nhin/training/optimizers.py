"""Optimisers, and which parameters are pulled towards zero."""

from torch import nn
from torch.optim import AdamW


def adamw(
    model: nn.Module,
    rate: float,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.98),
) -> AdamW:
    """Return AdamW with weight decay on matrices and kernels only.

    Norms, biases and embeddings keep their size: pulling them to zero regularises nothing.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    trained = [p for p in model.parameters() if p.requires_grad]
    pulled = [p for p in trained if p.ndim > 1 and id(p) not in tables]
    free = [p for p in trained if p.ndim <= 1 or id(p) in tables]
    groups = [{"params": pulled, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return AdamW([group for group in groups if group["params"]], lr=rate, betas=betas)
