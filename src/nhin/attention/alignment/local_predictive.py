r"""Predictive local alignment: the query predicts the position around which it attends.

.. math::
    p_t = S \cdot \mathrm{sigmoid}(v_p^\top \tanh(W_p h_t)), \qquad
    a_t(s) = \mathrm{align}(h_t, \bar h_s) \exp\left(-\frac{(s - p_t)^2}{2 \sigma^2}\right), \qquad
    \sigma = \frac{D}{2}

    \mathrm{align}(h_t, \bar h_s) = \frac{\exp(\mathrm{score}(h_t, \bar h_s))}
        {\sum_{|s' - p_t| \le D} \exp(\mathrm{score}(h_t, \bar h_{s'}))}
        \quad \text{for } |s - p_t| \le D, \text{ else } 0

The center is learned: only the Gaussian passes a gradient to it, for the edges of a window have none. A
decoder whose state encodes its progress need not compare itself with distant words at all. The weights of a
query sum to less than one, the more so the further its best keys are from the center, as in the paper.

Causal:  S is the number of positions up to the query's own.
Cost:    time O(T S D), for all scores are computed and then masked; memory O(T S).
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.2 (local-p), eq. (9) and (10).
Differs: S counts the visible keys, so padding at the end changes nothing; positions count from 0; the
         parameters are shared by the heads.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nhin.attention.alignment.base import AlignmentAttention, reach_facts
from nhin.attention.base import ABILITIES, Keep, Keys, Queries, WeightRows
from nhin.attention.masked_softmax import mask_keys, masked_softmax, upcast
from nhin.attention.softmax_base import RowMask
from nhin.ranges import check_size


class LocalPredictive(AlignmentAttention):
    """Weighs the keys around a position that the query predicts, the nearer the more.

    Args:
        reach: Positions on either side of the center; the paper's D, 2 sigma.
    """

    facts = reach_facts(
        "local-p",
        "Local alignment, predictive (Luong)",
        abilities=frozenset(ABILITIES) - {"unordered", "convex"},
        use="For decoders whose state encodes their progress, over sources of another order.",
    )

    def __init__(self, head_dim: int, score: str = "general", reach: int = 10, context: int = 512) -> None:
        super().__init__(score, head_dim, context)
        self.reach = check_size("reach", reach)
        self.hidden = nn.Linear(head_dim, head_dim, bias=False)
        self.vector = nn.Parameter(torch.randn(head_dim) * head_dim**-0.5)

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Return scores, mask, center, window, align, Gaussian and weights."""
        steps = super()._explain(q, k, v, causal, keep)
        scores, mask = self._scores_and_mask(q, mask_keys(k, keep), causal, keep, slice(None))
        center, window, gaussian = self._local_window(q, scores, mask)
        align = masked_softmax(scores, window)
        weights = steps.pop("weights")
        return steps | {
            "centre": center,
            "window": window,
            "align": align,
            "gaussian": gaussian,
            "weights": weights,
        }

    def _weights_and_mask(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[WeightRows, RowMask | None]:
        scores, mask = self._scores_and_mask(q, k, causal, keep, rows)
        _, window, gaussian = self._local_window(q[:, rows], scores, mask)
        return masked_softmax(scores, window) * gaussian.to(scores.dtype), window

    def _local_window(
        self, q: Queries, scores: WeightRows, mask: RowMask | None
    ) -> tuple[Float[Tensor, "B H rows 1"], RowMask, WeightRows]:
        """Return the center of each query, the keys within reach of it, and the Gaussian around it."""
        keys = scores.shape[-1]
        size = keys if mask is None else mask.sum(-1, keepdim=True)
        logits = torch.einsum("bthd,d->bht", self.hidden(q).tanh(), self.vector)[..., None]
        # Positions are whole numbers of any size, which half precision cannot distinguish.
        center = size * upcast(logits).sigmoid()
        gap = torch.arange(keys, device=q.device) - center
        window = gap.abs() <= self.reach
        if mask is not None:
            window = window & mask
        return center, window, (-2 * (gap / self.reach).square()).exp()
