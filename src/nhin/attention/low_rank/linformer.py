r"""Linformer: keys and values squeezed to a fixed number of learned mixtures.

.. math::
    o_t = \mathrm{softmax}\left(\frac{q_t (E K)^\top}{\sqrt{D}}\right) (F V),
    \qquad E, F \in \mathbb{R}^{R \times N}

Row r of E is a mixture of places: EK holds R keys and FV holds R values, however many came in. A query is
compared with R mixtures, so the cost grows with the length and not with its square. E and F are learned for
up to N places (``context``); of S keys their first S columns are used, as if zeros had been appended.

It pays for encoders of a known longest length, a few hundred places and more. It does not where lengths
vary widely, for a column is learned only from texts that reach its place, nor for decoding: every mixture
holds later keys. The implied weights, softmax times F, may be negative and need not sum to one, so equal
values do not come back unchanged. The order of the keys matters: a place is all that E and F know.

Causal:  refused, since every mixture holds later keys.
Cost:    time O((T + S) R D); memory O((T + D) R); parameters 2 R N, for any number of heads.
Source:  Wang et al. 2020, arXiv:2006.04768, eq. (7); sharing in section 4.
Differs: E and F serve all heads, the paper's headwise sharing, and with ``shared`` one matrix serves keys
         and values; neither matrix per head nor one matrix for all layers is offered. A hidden key or value
         enters the mixtures as zeros, so one at the end is as if absent. E and F begin as N(0, 1/R), as the
         paper's proofs draw them; how the authors began their training is not taken over. No mixing by
         pooling or convolution. A query that may see nothing gives zeros.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nhin.attention.base import Facts, Keep, Keys, Mechanism, Queries, WeightRows, check_call
from nhin.attention.masked_softmax import mask_keys, masked_softmax, weighted_sum
from nhin.errors import ShapeError
from nhin.ranges import check_size

Projection = Float[Tensor, "R N"]
ProjectedKeys = Float[Tensor, "B R G D"]
RankWeights = Float[Tensor, "B H T R"]


class Linformer(Mechanism):
    """Softmax over learned mixtures of places.

    Args:
        rank: Mixtures that stand for the keys, 1 or more.
        context: Most keys of one call, 1 or more.
        shared: One matrix mixes keys and values alike.
    """

    value_mixing: nn.Parameter | None
    facts = Facts(
        "linformer",
        "Linformer",
        "O((T + S)·R·D)",
        "O((T + D)·R)",
        False,
        "arXiv:2006.04768",
        frozenset({"keep", "cross", "grouped"}),
        family="low-rank",
        use="Encoders whose longest length is known and fixed.",
    )

    def __init__(self, rank: int = 64, context: int = 512, shared: bool = False) -> None:
        super().__init__()
        shape = (check_size("rank", rank), check_size("context", context))
        self.key_mixing = nn.Parameter(torch.randn(shape) * rank**-0.5)
        own = None if shared else nn.Parameter(torch.randn(shape) * rank**-0.5)
        self.register_parameter("value_mixing", own)

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix mixtures of values; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        shares = masked_softmax(self._scores(q, self.project_keys(k, keep)), None)
        return weighted_sum(shares, self.project_values(v, keep))

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse what does not fit, more keys than there are columns included."""
        check_call(self.facts, q, k, v, causal=causal, keep=keep)
        context = self.key_mixing.shape[1]
        if k.shape[1] > context:
            raise ShapeError(
                f"k has {k.shape[1]} keys, but context is {context}; "
                f"build it with context={k.shape[1]} or give at most {context} keys"
            )

    def project_keys(self, k: Keys, keep: Keep | None) -> ProjectedKeys:
        """Return EK."""
        return _project(self.key_mixing, mask_keys(k, keep))

    def project_values(self, v: Keys, keep: Keep | None) -> ProjectedKeys:
        """Return FV."""
        return _project(self._value_projection(), mask_keys(v, keep))

    def weights(
        self,
        q: Queries,
        k: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        rows: slice | None = None,
    ) -> WeightRows:
        """Return the T x S matrix that the formula implies: shares of the mixtures times F.

        It may hold negative numbers, and its rows need not sum to one.
        """
        self.check(q, k, k, causal=causal, keep=keep)
        return self._implied_weights(
            self._scores(q[:, rows or slice(None)], self.project_keys(k, keep)), k, keep
        )

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return EK, FV, scores and shares of the mixtures, the weights they imply, and the output."""
        self.check(q, k, v, causal=causal, keep=keep)
        keys, values = self.project_keys(k, keep), self.project_values(v, keep)
        scores = self._scores(q, keys)
        shares = masked_softmax(scores, None)
        return {
            "EK": keys,
            "FV": values,
            "scores": scores,
            "shares": shares,
            "weights": self._implied_weights(scores, k, keep),
            "output": weighted_sum(shares, values),
        }

    def _value_projection(self) -> Projection:
        return self.key_mixing if self.value_mixing is None else self.value_mixing

    def _scores(self, q: Queries, keys: ProjectedKeys) -> RankWeights:
        q = q.unflatten(2, (keys.shape[2], -1))
        scores = torch.einsum("btged,brgd->bgetr", q, keys)
        return scores.flatten(1, 2) * q.shape[-1] ** -0.5

    def _implied_weights(self, scores: RankWeights, k: Keys, keep: Keep | None) -> WeightRows:
        shown = masked_softmax(scores, None) @ self._value_projection()[:, : k.shape[1]]
        return shown if keep is None else shown.masked_fill(~keep[:, None, None, :], 0.0)


def _project(projection: Projection, x: Keys) -> ProjectedKeys:
    """Mix places with the columns that there are places for."""
    return torch.einsum("rs,bsgd->brgd", projection[:, : x.shape[1]], x)
