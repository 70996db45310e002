r"""Linformer: keys and values projected to a fixed number of learned mixtures.

.. math::
    o_t = \mathrm{softmax}\left(\frac{q_t (E K)^\top}{\sqrt{D}}\right) (F V),
    \qquad E, F \in \mathbb{R}^{R \times N}

A row of E is a mixture of positions: EK has R keys and FV has R values, whatever the length. A query is
compared with R mixtures, so the cost grows with the length and not with its square. E and F are learned for
up to N positions (``context``); of S keys their first S columns are used, as if zeros had been appended.

It pays for encoders of a known maximum length, from a few hundred positions on. It does not where lengths
vary widely, for a column is learned only from texts that reach its position. The implied weights, softmax
times F, may be negative and need not sum to one. The order of the keys matters.

Causal:  refused, since every mixture contains later keys.
Cost:    time O((T + S) R D); memory O((T + D) R); parameters 2 R N, for any number of heads.
Source:  Wang et al. 2020, arXiv:2006.04768, eq. (7); sharing in section 4.
Differs: E and F serve all heads, the paper's headwise sharing, and with ``shared`` one matrix serves keys
         and values; neither a matrix per head nor one for all layers is offered. A hidden key or value
         enters the mixtures as zeros. E and F begin as N(0, 1/R), as in the paper's proofs, not as in the
         authors' code. No mixing by pooling or convolution.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nhin.attention.base import Facts, Keep, Keys, Mechanism, Queries, WeightRows
from nhin.attention.masked_softmax import mask_keys, masked_softmax, weighted_sum
from nhin.errors import ShapeError
from nhin.ranges import check_size

Projection = Float[Tensor, "R N"]
ProjectedKeys = Float[Tensor, "B R G D"]
RankWeights = Float[Tensor, "B H T R"]


class Linformer(Mechanism):
    """Softmax over learned mixtures of positions.

    Args:
        rank: Number of mixtures, 1 or more.
        context: Maximum number of keys, 1 or more.
        shared: One matrix projects keys and values alike.
    """

    value_projection: nn.Parameter | None
    facts = Facts(
        "linformer",
        "Linformer",
        "O((T + S)·R·D)",
        "O((T + D)·R)",
        False,
        "arXiv:2006.04768",
        frozenset({"keep", "cross", "grouped"}),
        family="low-rank",
        use="Encoders whose maximum length is known and fixed.",
    )

    def __init__(self, rank: int = 64, context: int = 512, shared: bool = False) -> None:
        super().__init__()
        shape = (check_size("rank", rank), check_size("context", context))
        self.key_projection = nn.Parameter(torch.randn(shape) * rank**-0.5)
        own = None if shared else nn.Parameter(torch.randn(shape) * rank**-0.5)
        self.register_parameter("value_projection", own)

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse inputs that do not fit, also more keys than there are columns."""
        super().check(q, k, v, causal=causal, keep=keep)
        context = self.key_projection.shape[1]
        if k.shape[1] > context:
            raise ShapeError(
                f"k has {k.shape[1]} keys, but context is {context}; "
                f"build it with context={k.shape[1]} or give at most {context} keys"
            )

    def project_keys(self, k: Keys, keep: Keep | None) -> ProjectedKeys:
        """Return EK."""
        return _project(self.key_projection, mask_keys(k, keep))

    def project_values(self, v: Keys, keep: Keep | None) -> ProjectedKeys:
        """Return FV."""
        return _project(self._value_projection(), mask_keys(v, keep))

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        shares = masked_softmax(self._scores(q, self.project_keys(k, keep)), None)
        return weighted_sum(shares, self.project_values(v, keep))

    def _weights(self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice) -> WeightRows:
        """Return the T x S matrix that the formula implies; it may have negative entries."""
        return self._implied_weights(self._scores(q[:, rows], self.project_keys(k, keep)), k, keep)

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Return EK, FV, scores and softmax over the mixtures, and the implied weights."""
        keys = self.project_keys(k, keep)
        scores = self._scores(q, keys)
        return {
            "EK": keys,
            "FV": self.project_values(v, keep),
            "scores": scores,
            "shares": masked_softmax(scores, None),
            "weights": self._implied_weights(scores, k, keep),
        }

    def _value_projection(self) -> Projection:
        return self.key_projection if self.value_projection is None else self.value_projection

    def _scores(self, q: Queries, keys: ProjectedKeys) -> RankWeights:
        q = q.unflatten(2, (keys.shape[2], -1))
        scores = torch.einsum("btged,brgd->bgetr", q, keys)
        return scores.flatten(1, 2) * q.shape[-1] ** -0.5

    def _implied_weights(self, scores: RankWeights, k: Keys, keep: Keep | None) -> WeightRows:
        weights = masked_softmax(scores, None) @ self._value_projection()[:, : k.shape[1]]
        return weights if keep is None else weights.masked_fill(~keep[:, None, None, :], 0.0)


def _project(projection: Projection, x: Keys) -> ProjectedKeys:
    """Mix positions with as many columns as there are positions."""
    return torch.einsum("rs,bsgd->brgd", projection[:, : x.shape[1]], x)
