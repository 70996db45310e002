"""Scores of alignment models, for additive attention and Luong's global and local attention.

Parameters are shared by the heads, which differ by the projections around them, so any number of heads and of
key/value heads will do.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nhin.attention.base import ABILITIES, Keep, Keys, Queries, WeightRows
from nhin.attention.masked_softmax import repeat_heads
from nhin.attention.masks import KeyPositions, QueryPositions
from nhin.attention.pair_scores import add_pairs, score_pairs
from nhin.attention.softmax_base import SoftmaxAttention, softmax_facts
from nhin.errors import ShapeError, UnknownName
from nhin.ranges import check_size

score_facts = partial(softmax_facts, memory="O(T·S)", source="arXiv:1508.04025", family="scores")
reach_facts = partial(score_facts, abilities=frozenset(ABILITIES) - {"unordered"}, family="reach")


class DotScore(nn.Module):
    """q . k, not scaled."""

    def __init__(self, head_dim: int, context: int) -> None:
        super().__init__()

    def forward(self, q: Queries, k: Keys, s: KeyPositions) -> WeightRows:
        """Score every key for every query."""
        return torch.einsum("bthd,bshd->bhts", q, repeat_heads(k, q.shape[2]))


class GeneralScore(DotScore):
    """q . W k."""

    def __init__(self, head_dim: int, context: int) -> None:
        super().__init__(head_dim, context)
        # Near scaled dot products, which are known to learn.
        near_identity = torch.eye(head_dim) * head_dim**-0.5 + torch.randn(head_dim, head_dim) * 0.02
        self.weight = nn.Parameter(near_identity)

    def project(self, q: Queries) -> Queries:
        """Return W q."""
        return torch.einsum("bthd,de->bthe", q, self.weight)

    def forward(self, q: Queries, k: Keys, s: KeyPositions) -> WeightRows:
        """Score every key for every query."""
        return super().forward(self.project(q), k, s)


class AdditiveScore(nn.Module):
    """v . tanh(W q + U k)."""

    def __init__(self, head_dim: int, context: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Linear(head_dim, head_dim, bias=False) for _ in range(2))
        self.vector = nn.Parameter(torch.randn(head_dim) * head_dim**-0.5)

    def project_pair(self, q: Queries, k: Keys) -> tuple[Queries, Keys]:
        """Return W q and U k."""
        return self.query(q), self.key(k)

    def forward(self, q: Queries, k: Keys, s: KeyPositions) -> WeightRows:
        """Score every key for every query."""
        q, k = self.project_pair(q, k)
        return score_pairs(additive_scores, q, repeat_heads(k, q.shape[2]), self.vector)


class ConcatScore(AdditiveScore):
    """v . tanh(W [q; k])."""

    def __init__(self, head_dim: int, context: int) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Linear(2 * head_dim, head_dim, bias=False)
        self.vector = nn.Parameter(torch.randn(head_dim) * head_dim**-0.5)

    def project_pair(self, q: Queries, k: Keys) -> tuple[Queries, Keys]:
        """Return each half of W times its input; their sum is W times the concatenation."""
        width = q.shape[-1]
        left, right = self.weight.weight[:, :width], self.weight.weight[:, width:]
        return nn.functional.linear(q, left), nn.functional.linear(k, right)


class LocationScore(nn.Module):
    """W q: a score for each position, whatever its key."""

    def __init__(self, head_dim: int, context: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(context, head_dim) * head_dim**-0.5)

    def forward(self, q: Queries, k: Keys, s: KeyPositions) -> WeightRows:
        """Score every position for every query."""
        keys, context = s.shape[0], self.weight.shape[0]
        if keys > context:
            raise ShapeError(
                f"there are {keys} keys and scores for context={context} positions; "
                f"build it with context={keys} or more, or shorten the source"
            )
        return torch.einsum("bthd,sd->bhts", q, self.weight[:keys])


SCORES: dict[str, Callable[[int, int], nn.Module]] = {
    "dot": DotScore,
    "general": GeneralScore,
    "concat": ConcatScore,
    "location": LocationScore,
    "additive": AdditiveScore,
}


class AlignmentAttention(SoftmaxAttention):
    """A softmax over one of the scores.

    Args:
        score: dot, general, concat, location or additive.
        head_dim: Width of one head.
        context: Maximum number of keys, for the score location.
    """

    def __init__(self, score: str, head_dim: int, context: int = 512) -> None:
        super().__init__()
        if score not in SCORES:
            raise UnknownName("score", score, SCORES)
        self.head_dim = check_size("head_dim", head_dim)
        self.score = SCORES[score](head_dim, check_size("context", context))

    def scores(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> WeightRows:
        """Return the scores of the chosen formula."""
        return self.score(q, k, s)

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Return projected queries and keys, scores, mask and weights."""
        steps: dict[str, Tensor] = {}
        if isinstance(self.score, AdditiveScore):
            steps["projected_queries"], steps["projected_keys"] = self.score.project_pair(q, k)
        elif isinstance(self.score, GeneralScore):
            steps["projected_queries"] = self.score.project(q)
        return steps | super()._explain(q, k, v, causal, keep)


def additive_scores(
    q: Queries, k: Float[Tensor, "B S H D"], vector: Float[Tensor, " D"]
) -> Float[Tensor, "B H T S"]:
    """Return v . tanh(q + k) of every pair."""
    return add_pairs(q, k).tanh_() @ vector
