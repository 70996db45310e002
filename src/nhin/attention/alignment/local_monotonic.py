r"""Monotonic local alignment: only places near the one that stands in step are weighed.

.. math::
    p_t = t, \qquad a_t(s) = \frac{\exp(\mathrm{score}(h_t, \bar h_s))}
        {\sum_{|s' - p_t| \le D} \exp(\mathrm{score}(h_t, \bar h_{s'}))}
        \quad \text{for } |s - p_t| \le D, \text{ else } 0

Source and target are taken to go in step, so word t of the one is looked for near place t of the other;
within the window the score decides. It suits speech and text of one order, and languages of one word order;
for one sequence that looks at itself it is a two-sided sliding window.

Where T and S differ, ``align`` says what "in step" means: "end", both end together, as everywhere in nhin,
so it can decode a sequence that looks at itself; "start", both start together, as in the paper; "scaled",
place t of T stands at t S / T. A decoder that looks at a source one step at a time says where it is with
``start``.

Causal:  places up to the query's own, with align="end" only.
Cost:    time O(T S D), for the table is made and then limited; memory O(T S). ``window`` has the fast path.
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.2 (local-m).
Differs: places outside the source do not count, as in the paper's crossed sentence bounds; ``align``; the
         parameters of a score are shared by the heads; a query that may see nothing gives zeros.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.alignment.base import AlignmentAttention
from nhin.attention.base import Facts, Keep, Keys, Queries, WeightRows
from nhin.attention.masks import KeyPositions, PairMask, QueryPositions
from nhin.errors import UsageError
from nhin.ranges import check_size

ALIGNMENTS = ("end", "start", "scaled")


@dataclass(frozen=True)
class LocalWindow:
    """Sees up to ``reach`` places to either side of its own."""

    reach: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p - s).abs() <= self.reach


class LocalMonotonic(AlignmentAttention):
    """Weighs the keys near the aligned place, by one of the scores.

    Args:
        head_dim: Width of one head.
        score: dot, general, concat, location or additive.
        reach: Places to either side of the aligned one that are weighed; the paper's D.
        align: What stands in step when lengths differ: "end", "start" or "scaled".
        context: Most keys, for the score location.
    """

    facts = Facts(
        "local-m",
        "Local alignment, monotonic (Luong)",
        "O(T·S·D)",
        "O(T·S)",
        False,
        "arXiv:1508.04025",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode", "truncate"}),
        family="reach",
        state="2·S·G·D",
        use="For pairs of sequences that go in step, such as speech and its text.",
    )

    def __init__(
        self,
        head_dim: int,
        score: str = "general",
        reach: int = 10,
        align: str = "end",
        context: int = 512,
    ) -> None:
        super().__init__(score, head_dim, context)
        if align not in ALIGNMENTS:
            raise UsageError(f"align is {align!r}; give one of {', '.join(ALIGNMENTS)}")
        self.reach, self.align = check_size("reach", reach, 0), align
        if align == "end":
            self.pattern = LocalWindow(self.reach)
        else:
            # Where queries do not stand among the keys, nothing is later than they are.
            able = self.facts.abilities - {"causal", "decode", "truncate"}
            self.facts = replace(self.facts, abilities=able)

    def forward(
        self,
        q: Queries,
        k: Keys,
        v: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        start: int = 0,
    ) -> Queries:
        """Mix values near the aligned places; see ``attention.base`` for the contract.

        Args:
            q: Looks.
            k: Is looked at.
            v: Is mixed.
            causal: Hide later keys.
            keep: True where a key may be seen.
            start: Which query of its sequence the first of ``q`` is, with align="start"; costs as many
                queries more.
        """
        if start and self.align != "start":
            raise UsageError(
                f"start is {start}; only align='start' counts queries, this one has {self.align!r}"
            )
        # Queries that came before only take up their places.
        q = F.pad(q, (0, 0, 0, 0, check_size("start", start, 0), 0)) if start else q
        return super().forward(q, k, v, causal=causal, keep=keep)[:, start:]

    def _scores_and_mask(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[WeightRows, Bool[Tensor, "#B #H #rows S"] | None]:
        """Return the scores of some rows and who may be seen from them."""
        scores, seen = super()._scores_and_mask(q, k, causal, keep, rows)
        if self.align == "end":
            return scores, seen
        t, s = q.shape[1], k.shape[1]
        centre = torch.arange(t, device=q.device)[rows, None] * (
            s / max(t, 1) if self.align == "scaled" else 1
        )
        near = ((torch.arange(s, device=q.device) - centre).abs() <= self.reach)[None, None]
        return scores, near if seen is None else seen & near
