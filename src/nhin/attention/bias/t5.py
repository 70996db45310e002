r"""T5's relative bias: a learned bias for every head and range of distances, added to the score.

.. math::
    o_t = \sum_s \mathrm{softmax}_s\left( \frac{q_t^\top k_s}{\sqrt{D}} + b_{h,\, bucket(t - s)} \right) v_s,
    \qquad
    bucket(d) = \begin{cases} d & d < E \\
    \min\left( N - 1,\; E + \left\lfloor \dfrac{\ln (d / E)}{\ln (distance / E)} (N - E) \right\rfloor
    \right) & d \ge E \end{cases}, \qquad E = N / 2

Near distances have a bucket each, further ones share buckets that widen exponentially, and all from
``distance`` on share the last: a text may be of any length. Two-sided, half of the buckets are for keys
before the query and half for those after it, so that N is half of them; one-sided, all are for keys before
it, and keys after it, if visible, are at distance 0. In T5 all layers share one table.

Causal:  the same buckets, those for later keys unused; ``two_sided=False`` gives a decoder all of them.
Cost:    time O(T S D); memory O((T + S) D) and one block of biases, forward and backward; O(T S) in traced
         graphs; H x buckets parameters.
Source:  Raffel et al. 2020, arXiv:1910.10683, sec. 2.1; the buckets' edges are in the authors' code.
Differs: scores are divided by sqrt(D), which T5 leaves to its initial weights: to run T5's own weights,
         multiply the queries' by sqrt(D); edges are computed in integers, so none is misplaced by rounding;
         no second derivative, which ``forward_reference`` has.
Extends: All distances from the greatest on share a bucket, so longer texts work.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nhin.attention.base import ABILITIES
from nhin.attention.bias.kernel import BiasedAttention, Gap
from nhin.attention.softmax_base import softmax_facts
from nhin.attention.tables import ComputedTables
from nhin.errors import ShapeError
from nhin.ranges import check_size

_MAX_BUCKETS, _MAX_DISTANCE = 1024, 2**31


def bucket_edges(buckets: int, distance: int) -> list[int]:
    """Return the distances at which the index of the bucket rises by one, for one side."""
    exact = buckets // 2
    wide = buckets - exact
    edges = list(range(1, exact + 1))
    for step in range(1, wide):
        # The smallest d with ln(d / exact) / ln(distance / exact) * wide >= step, without logarithms.
        goal = distance**step * exact ** (wide - step)
        low, high = edges[-1], distance
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if middle**wide >= goal else (middle + 1, high)
        edges.append(low)
    return edges


class T5(BiasedAttention, ComputedTables):
    """Scores get a learned bias by the range of their distance.

    Args:
        heads: Query heads.
        buckets: Ranges of distances, of both sides together.
        distance: All distances from here on share a bucket.
        two_sided: Keys before and after the query have buckets of their own; False for a decoder.
    """

    facts = softmax_facts(
        "t5",
        "T5's relative bias",
        memory="O(T + S)",
        source="arXiv:1910.10683",
        abilities=frozenset(ABILITIES) - {"unordered"},
        family="bias",
        use="For encoders and decoders that should learn what distance means.",
    )

    edges: Tensor

    def __init__(self, heads: int, buckets: int = 32, distance: int = 128, *, two_sided: bool = True) -> None:
        super().__init__(check_size("heads", heads))
        check_size("buckets", buckets, maximum=_MAX_BUCKETS)
        check_size("distance", distance, maximum=_MAX_DISTANCE)
        self.sides = 2 if two_sided else 1
        if buckets < 2 * self.sides or buckets % self.sides:
            raise ShapeError(
                f"buckets is {buckets}; give {2 * self.sides} or more, and an even number for two sides"
            )
        self.buckets = buckets // self.sides
        if distance <= self.buckets // 2:
            raise ShapeError(
                f"distance is {distance}; give more than {self.buckets // 2}, the number of distances "
                "with a bucket of their own"
            )
        self.distance = distance
        self.build_tables()
        self.table = nn.Parameter(torch.randn(heads, buckets) * 0.02)

    def compute_tables(self) -> dict[str, Tensor]:
        """Return the distances at which the bucket changes."""
        return {"edges": torch.tensor(bucket_edges(self.buckets, self.distance))}

    def bucket_of(self, gap: Gap) -> Int[Tensor, "*shape"]:
        """Return the column of the table for keys ``gap`` positions before the query."""
        if self.sides == 1:
            return torch.bucketize(gap.clamp_min(0), self.edges, right=True)
        return torch.bucketize(gap.abs(), self.edges, right=True) + self.buckets * (gap < 0)

    def bias(self, gap: Gap) -> Float[Tensor, "H *shape"]:
        """Return the learned bias of each head."""
        return self.table[:, self.bucket_of(gap)]
