r"""Predictive local alignment: the query says around which place to look.

.. math::
    p_t = S \cdot \mathrm{sigmoid}(v_p^\top \tanh(W_p h_t)), \qquad
    a_t(s) = \mathrm{align}(h_t, \bar h_s) \exp\left(-\frac{(s - p_t)^2}{2 \sigma^2}\right), \qquad
    \sigma = \frac{D}{2}

    \mathrm{align}(h_t, \bar h_s) = \frac{\exp(\mathrm{score}(h_t, \bar h_s))}
        {\sum_{|s' - p_t| \le D} \exp(\mathrm{score}(h_t, \bar h_{s'}))}
        \quad \text{for } |s - p_t| \le D, \text{ else } 0

The centre is learned: only the Gaussian passes a gradient to it, for the edges of a window have none. Where
the state of a decoder knows how far it has come, it need not compare itself with far words at all. The
weights of a query sum to less than one, the more so the further its best keys lie from the centre, as in
the paper.

Causal:  S is the number of places up to the query's own.
Cost:    time O(T S D), for the table is made and then limited; memory O(T S).
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.2 (local-p), eq. (9) and (10).
Differs: S counts the keys that may be seen, so padding at the end changes nothing; places are counted from
         0; the parameters are shared by the heads; a query that may see nothing gives zeros.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nhin.attention.alignment.base import AlignmentAttention
from nhin.attention.base import Facts, Keep, Keys, Queries, WeightRows
from nhin.attention.masked_softmax import mask_keys, masked_softmax
from nhin.ranges import check_size


class LocalPredictive(AlignmentAttention):
    """Weighs the keys near a place the query names, the nearer the more.

    Args:
        head_dim: Width of one head.
        score: dot, general, concat, location or additive.
        reach: Places to either side of the centre that are weighed; the paper's D, 2 sigma.
        context: Most keys, for the score location.
    """

    facts = Facts(
        "local-p",
        "Local alignment, predictive (Luong)",
        "O(T·S·D)",
        "O(T·S)",
        False,
        "arXiv:1508.04025",
        frozenset({"causal", "keep", "cross", "grouped", "decode", "truncate"}),
        family="reach",
        state="2·S·G·D",
        use="For decoders whose state knows how far they have come, over sources of another order.",
    )

    def __init__(self, head_dim: int, score: str = "general", reach: int = 10, context: int = 512) -> None:
        super().__init__(score, head_dim, context)
        self.reach = check_size("reach", reach)
        self.hidden = nn.Linear(head_dim, head_dim, bias=False)
        self.vector = nn.Parameter(torch.randn(head_dim) * head_dim**-0.5)

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return scores, centre, window, align, Gaussian, weights and output, in the formula's order."""
        told = super().explain(q, k, v, causal=causal, keep=keep)
        output = told.pop("output")
        scores, seen = super()._scores_and_mask(q, mask_keys(k, keep), causal, keep, slice(None))
        centre, window, gaussian = self._local_window(q, scores, seen)
        told |= {
            "centre": centre,
            "window": window,
            "align": masked_softmax(scores, window),
            "gaussian": gaussian,
        }
        return told | {"weights": told.pop("weights"), "output": output}

    def _weights_and_mask(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[WeightRows, Bool[Tensor, "#B #H #rows S"] | None]:
        """Return the weights of some rows and who may be seen from them."""
        scores, seen = self._scores_and_mask(q, k, causal, keep, rows)
        _, window, gaussian = self._local_window(q[:, rows], scores, seen)
        return masked_softmax(scores, window) * gaussian.to(scores.dtype), window

    def _local_window(
        self, q: Queries, scores: WeightRows, mask: Bool[Tensor, "#B #H #rows S"] | None
    ) -> tuple[Float[Tensor, "B H rows 1"], Bool[Tensor, "B H rows S"], Float[Tensor, "B H rows S"]]:
        """Return the centre of each query, the keys within reach of it, and the Gaussian around it."""
        keys = scores.shape[-1]
        size = keys if mask is None else mask.sum(-1, keepdim=True)
        named = torch.einsum("bthd,d->bht", self.hidden(q).tanh(), self.vector)[..., None]
        # Places are whole numbers of any size, which half precision cannot tell apart.
        centre = size * named.to(torch.promote_types(named.dtype, torch.float32)).sigmoid()
        gap = torch.arange(keys, device=q.device) - centre
        window = gap.abs() <= self.reach
        if mask is not None:
            window = window & mask
        return centre, window, (-2 * (gap / self.reach).square()).exp()
