"""How alignment models score a key for a query: what additive, Luong's scores and his reaches share.

Parameters are shared by the heads, which differ by the projections around them, so any number of heads and
of key/value heads will do.
"""

from collections.abc import Callable

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nhin.attention.base import Keep, Keys, Queries, WeightRows, check_built
from nhin.attention.masks import KeyPositions, QueryPositions
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.errors import ShapeError, UnknownName
from nhin.ranges import check_size

MAX_TABLE_ENTRIES = (
    2**18
)  # numbers of the table T x S x D that is summed over D: blocks that a processor's cache holds


class DotScore(nn.Module):
    """q . k, not scaled."""

    def __init__(self, head_dim: int, context: int) -> None:
        super().__init__()

    def forward(self, q: Queries, k: Keys, s: KeyPositions) -> WeightRows:
        """Score every key for every query."""
        k = repeat(k, "b s g d -> b s (g each) d", each=q.shape[2] // k.shape[2])
        return torch.einsum("bthd,bshd->bhts", q, k)


class GeneralScore(DotScore):
    """q . W k."""

    def __init__(self, head_dim: int, context: int) -> None:
        super().__init__(head_dim, context)
        # Begins near scaled dot products, which are known to learn.
        self.weight = nn.Parameter(
            torch.eye(head_dim) * head_dim**-0.5 + torch.randn(head_dim, head_dim) * 0.02
        )

    def forward(self, q: Queries, k: Keys, s: KeyPositions) -> WeightRows:
        """Score every key for every query."""
        return super().forward(torch.einsum("bthd,de->bthe", q, self.weight), k, s)


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
        each = q.shape[2] // k.shape[2]
        q, k = self.project_pair(q, k)
        return additive_scores(q, repeat(k, "b s g d -> b s (g each) d", each=each), self.vector)


class ConcatScore(AdditiveScore):
    """v . tanh(W [q; k])."""

    def __init__(self, head_dim: int, context: int) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Linear(2 * head_dim, head_dim, bias=False)
        self.vector = nn.Parameter(torch.randn(head_dim) * head_dim**-0.5)

    def project_pair(self, q: Queries, k: Keys) -> tuple[Queries, Keys]:
        """Return what W makes of each half, whose sum is what it makes of both side by side."""
        width = q.shape[-1]
        left, right = self.weight.weight[:, :width], self.weight.weight[:, width:]
        return nn.functional.linear(q, left), nn.functional.linear(k, right)


class LocationScore(nn.Module):
    """W q: a number for each place, whatever stands there."""

    def __init__(self, head_dim: int, context: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(context, head_dim) * head_dim**-0.5)

    def forward(self, q: Queries, k: Keys, s: KeyPositions) -> WeightRows:
        """Score every place for every query."""
        keys, context = s.shape[0], self.weight.shape[0]
        if keys > context:
            raise ShapeError(
                f"there are {keys} keys and scores for context={context} places; "
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
        score: A name in ``SCORES``.
        head_dim: Width of one head.
        context: Most keys, for scores that hold a number for each place.
    """

    def __init__(self, score: str, head_dim: int, context: int = 512) -> None:
        super().__init__()
        if score not in SCORES:
            raise UnknownName("score", score, SCORES)
        self.head_dim = check_size("head_dim", head_dim)
        self.score = SCORES[score](head_dim, check_size("context", context))

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse what does not fit, and another width than it was built for."""
        super().check(q, k, v, causal=causal, keep=keep)
        check_built(self.facts, q, head_dim=self.head_dim)

    def scores(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> WeightRows:
        """Return the scores by their own formula."""
        return self.score(q, k, s)

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return what is made of queries and keys, scores, who sees whom, weights and output."""
        told = super().explain(q, k, v, causal=causal, keep=keep)
        if isinstance(self.score, AdditiveScore):
            query, key = self.score.project_pair(q, k)
            return {"projected_queries": query, "projected_keys": key} | told
        if isinstance(self.score, GeneralScore):
            return {"projected_queries": torch.einsum("bthd,de->bthe", q, self.score.weight)} | told
        return told


def additive_scores(
    q: Queries, k: Float[Tensor, "B S H D"], vector: Float[Tensor, " D"]
) -> Float[Tensor, "B H T S"]:
    """Return v . tanh(q + k) of every pair, a block of queries at a time.

    The table of hidden units is T x S x D; a block of it is forgotten once summed, and made again when
    gradients are asked for. A block is one query at least, and all of them while ``torch.compile`` traces.
    """
    b, t, h, d = q.shape
    if torch.compiler.is_compiling():
        return _pair_scores(q, k, vector)
    rows = max(1, MAX_TABLE_ENTRIES // max(1, b * h * k.shape[1] * d))
    if rows >= t:
        return _pair_scores(q, k, vector)
    again = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, vector))
    blocks = [
        checkpoint(_pair_scores, part, k, vector, use_reentrant=False)
        if again
        else _pair_scores(part, k, vector)
        for part in q.split(rows, 1)
    ]
    return torch.cat(blocks, 2)


def _pair_scores(
    q: Queries, k: Float[Tensor, "B S H D"], vector: Float[Tensor, " D"]
) -> Float[Tensor, "B H T S"]:
    hidden = q.transpose(1, 2)[:, :, :, None] + k.transpose(1, 2)[:, :, None]
    return hidden.tanh_() @ vector
