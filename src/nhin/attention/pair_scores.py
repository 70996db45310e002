"""Scores of all pairs of query and key that need a row of numbers for each pair, in bounded memory."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nhin.attention.base import Queries, WeightRows
from nhin.attention.masked_softmax import is_transformed

MAX_TABLE_ENTRIES = 2**18  # of the T x S x D table: a block that fits a processor's cache


def score_pairs(
    score: Callable[..., WeightRows], q: Queries, k: Float[Tensor, "B S H D"], *weights: Tensor
) -> WeightRows:
    """Return ``score(q, k, *weights)``, a block of queries at a time.

    What is computed for all pairs is T x S x D; a block of it is freed once summed, and computed again for
    gradients. A block is one query at least, and all of them in a traced graph or under ``torch.func``.
    """
    b, t, h, d = q.shape
    if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or is_transformed():
        return score(q, k, *weights)
    rows = max(1, MAX_TABLE_ENTRIES // max(1, b * h * k.shape[1] * d))
    if rows >= t:
        return score(q, k, *weights)
    needs_grad = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, *weights))
    score = partial(checkpoint, score, use_reentrant=False) if needs_grad else score
    return torch.cat([score(part, k, *weights) for part in q.split(rows, 1)], 2)


def add_pairs(q: Queries, k: Float[Tensor, "B S H D"]) -> Float[Tensor, "B H T S D"]:
    """Return the sum of every query and every key."""
    return q.transpose(1, 2)[:, :, :, None] + k.transpose(1, 2)[:, :, None]
