r"""Monotonic local alignment: attends only near the position that is in step with the query.

.. math::
    p_t = t, \qquad a_t(s) = \frac{\exp(\mathrm{score}(h_t, \bar h_s))}
        {\sum_{|s' - p_t| \le D} \exp(\mathrm{score}(h_t, \bar h_{s'}))}
        \quad \text{for } |s - p_t| \le D, \text{ else } 0

Source and target are assumed to advance in step, so target position t attends near source position t; within
the window the score decides. It suits speech and its text, and languages of one word order; in
self-attention it is a two-sided sliding window.

Where T and S differ, ``align`` defines "in step": "end", both end together, as everywhere in nhin, so that
self-attention can decode; "start", both start together, as in the paper; "scaled", position t of T
corresponds to t S / T. A decoder that attends to a source one step at a time gives its position as ``start``.

Causal:  positions up to the query's own, with align="end" only.
Cost:    time O(T S D), for all scores are computed and then masked; memory O(T S). ``window`` is fast.
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.2 (local-m).
Differs: positions outside the source do not count, as in the paper; ``align``; the parameters of a score are
         shared by the heads.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F

from nhin.attention.alignment.base import AlignmentAttention, reach_facts
from nhin.attention.base import Keep, Keys, Queries, WeightRows
from nhin.attention.masks import WindowMask
from nhin.attention.softmax_base import RowMask
from nhin.errors import UsageError
from nhin.ranges import check_size

ALIGNMENTS = ("end", "start", "scaled")


class LocalMonotonic(AlignmentAttention):
    """Weighs the keys near the aligned position, by one of the scores.

    Args:
        reach: Positions on either side of the aligned one; the paper's D.
        align: What is in step when lengths differ: "end", "start" or "scaled".
    """

    facts = reach_facts(
        "local-m",
        "Local alignment, monotonic (Luong)",
        use="For pairs of sequences that advance in step, such as speech and its text.",
    )

    def __init__(
        self, head_dim: int, score: str = "general", reach: int = 10, align: str = "end", context: int = 512
    ) -> None:
        super().__init__(score, head_dim, context)
        if align not in ALIGNMENTS:
            raise UsageError(f"align is {align!r}; give one of {', '.join(ALIGNMENTS)}")
        self.reach, self.align = check_size("reach", reach, 0), align
        if align == "end":
            self.pattern = WindowMask(self.reach + 1)
        else:
            # Where queries have no position among the keys, no key is later than a query.
            abilities = self.facts.abilities - {"causal", "decode", "truncate"}
            self.facts = replace(self.facts, abilities=abilities)

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None, start: int = 0
    ) -> Queries:
        """Mix values near the aligned positions; see ``attention.base`` for the contract.

        With align="start", ``start`` is the position of the first query; it costs as many queries more.
        """
        if start and self.align != "start":
            raise UsageError(
                f"start is {start}; only align='start' counts queries, this one has {self.align!r}"
            )
        # Earlier queries only take up their positions.
        q = F.pad(q, (0, 0, 0, 0, check_size("start", start, 0), 0)) if start else q
        return super().forward(q, k, v, causal=causal, keep=keep)[:, start:]

    def _scores_and_mask(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[WeightRows, RowMask | None]:
        scores, mask = super()._scores_and_mask(q, k, causal, keep, rows)
        if self.align == "end":
            return scores, mask
        t, s = q.shape[1], k.shape[1]
        stride = s / max(t, 1) if self.align == "scaled" else 1
        center = torch.arange(t, device=q.device)[rows, None] * stride
        near = ((torch.arange(s, device=q.device) - center).abs() <= self.reach)[None, None]
        return scores, near if mask is None else mask & near
