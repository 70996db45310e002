r"""Nystromformer: softmax attention rebuilt from what a few landmarks see and how they are seen.

.. math::
    o_t = \mathrm{softmax}\left(\frac{q_t \tilde K^\top}{\sqrt D}\right)
    \mathrm{softmax}\left(\frac{\tilde Q \tilde K^\top}{\sqrt D}\right)^{+}
    \mathrm{softmax}\left(\frac{\tilde Q K^\top}{\sqrt D}\right) V

The landmarks are means of segments: queries and keys are each cut in order into at most m runs of (nearly)
equal length. Queries are compared with landmarks of keys, landmarks of queries with keys, and the
pseudo-inverse of the small matrix A between the landmarks joins the two. It is not solved for but iterated,

.. math::
    Z_{j+1} = \tfrac14 Z_j (13 I - A Z_j (15 I - A Z_j (7 I - A Z_j))), \qquad
    Z_0 = \frac{A^\top}{\|A\|_1 \|A\|_\infty},

which is only products. Where A is nearly singular six steps stop short of the inverse, which also spares
what would magnify noise most. Products associate, so the T x S table is never formed.

It pays for encoders of a thousand places and more, also to run a model trained with softmax. It does not
below some multiples of m, nor where one key among many must be singled out: a landmark blurs its segment.
With no more places than landmarks the answer approaches softmax attention as the steps grow. The implied
weights may be negative and sum to one only where A is inverted well. An answer depends on the other queries
of the call too, through their landmarks: asking in two halves gives other answers than asking at once.

Causal:  refused, since every landmark holds later places.
Cost:    time O((T + S) m D + m^3); memory O((T + S) m + m^2).
Source:  Xiong et al. 2021, arXiv:2102.03902, algorithm 1.
Differs: each matrix starts the iteration from its own norms, where the authors' code by default takes one
         maximum over all heads and the whole batch, which lets one row change another. Landmarks are means
         over the keys that may be seen, by their rank, where theirs count padding as zeros; a row with fewer
         such keys than landmarks has fewer landmarks. Lengths need no padding to a multiple of m. T and S
         may differ: A is then not square. Halves are worked on in float32. No depthwise convolution of the
         values is added. A query that may see nothing gives zeros. Queries at padded places make landmarks
         too unless ``paired``, for the contract hides keys and not queries.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from nhin.attention.base import Facts, Keep, Keys, Mechanism, Queries, WeightRows, check_call
from nhin.attention.masked_softmax import all_finite, mask_keys, masked_softmax, weighted_sum
from nhin.errors import UsageError
from nhin.ranges import check_size

Landmarks = Float[Tensor, "B M heads D"]
UsedLandmarks = Bool[Tensor, "#B M"]  # rows of few places leave landmarks without any
KernelRows = Float[Tensor, "B H rows M"]
LandmarkKernel = Float[Tensor, "B H M N"]
Inverse = Float[Tensor, "B H N M"]


class NystromFactors(NamedTuple):
    """Every factor of the formula but the values."""

    queries: Landmarks
    keys: Landmarks
    left: KernelRows  # from queries to landmarks of keys
    middle: LandmarkKernel  # from landmarks to landmarks
    right: KernelRows  # from landmarks of queries to keys
    inverse: Inverse


class Nystromformer(Mechanism):
    """Softmax attention through landmarks.

    Args:
        landmarks: Most means that stand for the queries, and for the keys; 1 or more.
        iterations: Steps toward the pseudo-inverse, 1 or more.
        paired: Query t and key t are one place, so the query of a hidden key makes no landmark; for
            self-attention over padded batches, with as many queries as keys.
    """

    facts = Facts(
        "nystromformer",
        "Nystromformer",
        "O((T + S)·m·D + m³)",
        "O((T + S)·m)",
        False,
        "arXiv:2102.03902",
        frozenset({"keep", "cross", "grouped"}),
        family="low-rank",
        use="Encoders over long texts, where a blurred view of far places is enough.",
    )

    def __init__(self, landmarks: int = 64, iterations: int = 6, paired: bool = False) -> None:
        super().__init__()
        self.landmarks = check_size("landmarks", landmarks)
        self.iterations = check_size("iterations", iterations)
        self.paired = paired

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values through landmarks, from the right; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        device, dtype = q.device.type, q.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            q, k, v = upcast(q), mask_keys(upcast(k), keep), mask_keys(upcast(v), keep)
            parts = self._factors(q, k, keep, slice(None))
            out = torch.matmul(parts.inverse, rearrange(weighted_sum(parts.right, v), "b m h d -> b h m d"))
            out = rearrange(torch.matmul(parts.left, out), "b h t d -> b t h d")
            return _propagate_nan(out, k, v).to(dtype)

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse what does not fit, unpaired places included where they should be paired."""
        check_call(self.facts, q, k, v, causal=causal, keep=keep)
        if self.paired and q.shape[1] != k.shape[1]:
            raise UsageError(
                f"{q.shape[1]} queries and {k.shape[1]} keys cannot be paired; "
                f"build {self.facts.name} with paired=False"
            )

    def weights(
        self,
        q: Queries,
        k: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        rows: slice | None = None,
    ) -> WeightRows:
        """Return the T x S matrix that the formula implies: the product of its three factors."""
        self.check(q, k, k, causal=causal, keep=keep)
        with torch.autocast(q.device.type, enabled=False):
            parts = self._factors(upcast(q), mask_keys(upcast(k), keep), keep, rows or slice(None))
            return (parts.left @ parts.inverse @ parts.right).to(q.dtype)

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return landmarks, the three kernels, the inverse of the middle one, weights and output."""
        self.check(q, k, v, causal=causal, keep=keep)
        with torch.autocast(q.device.type, enabled=False):
            parts = self._factors(upcast(q), mask_keys(upcast(k), keep), keep, slice(None))
        return {
            "query landmarks": parts.queries,
            "key landmarks": parts.keys,
            "queries to landmarks": parts.left,
            "landmarks to landmarks": parts.middle,
            "landmarks to keys": parts.right,
            "inverse": parts.inverse,
            "weights": self.weights(q, k, causal=causal, keep=keep),
            "output": self(q, k, v, causal=causal, keep=keep),
        }

    def _factors(self, q: Queries, k: Keys, keep: Keep | None, rows: slice) -> NystromFactors:
        """Return the factors, the first one for some of the queries; hidden keys are zeros already."""
        paired = keep if self.paired else None
        asking, some = segment_means(mask_keys(q, paired), paired, self.landmarks)
        asked, there = segment_means(k, keep, self.landmarks)
        there = rearrange(there, "b m -> b 1 1 m")
        between = softmax_kernel(asking, asked, there).masked_fill(rearrange(~some, "b m -> b 1 m 1"), 0.0)
        seen = None if keep is None else rearrange(keep, "b s -> b 1 1 s")
        return NystromFactors(
            asking,
            asked,
            softmax_kernel(q[:, rows], asked, there),
            between,
            softmax_kernel(asking, k, seen),
            iterative_inverse(between, self.iterations),
        )


def upcast(x: Queries) -> Queries:
    """Return numbers in float32 at least: an inverse magnifies how they were rounded."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def segment_means(x: Keys, keep: Keep | None, max_segments: int) -> tuple[Landmarks, UsedLandmarks]:
    """Return the mean of each segment and which segments there are.

    Of n places that count, the one of rank r falls into segment floor(r c / n) of c = min(n, most).

    Args:
        x: Places; zeros where they do not count.
        keep: Which places count; all when None.
        max_segments: Most segments.
    """
    b, s, heads, _ = x.shape
    # One segment at least, if an unused one: nothing has no largest entry.
    slots = max(1, min(max_segments, s))
    counts = torch.ones(1, s, dtype=torch.bool, device=x.device) if keep is None else keep
    many = counts.sum(1, keepdim=True)
    rank = counts.long().cumsum(1) - 1
    segment = (rank * many.clamp(max=slots)).div(many.clamp(min=1), rounding_mode="floor").clamp(min=0)
    size = counts.new_zeros(counts.shape[0], slots, dtype=torch.long)
    size = size.scatter_add(1, segment, counts.long())
    at = segment + torch.arange(b, device=x.device)[:, None] * slots
    total = x.new_zeros(b * slots, heads, x.shape[3]).index_add(0, at.flatten(), x.flatten(0, 1))
    total = rearrange(total, "(b m) h d -> b m h d", m=slots)
    return total / size.clamp(min=1).to(x.dtype)[:, :, None, None], size > 0


def softmax_kernel(q: Queries, k: Keys, mask: Bool[Tensor, "#B 1 1 S"] | None) -> Float[Tensor, "B H T S"]:
    """Return softmax weights of queries over keys; query heads of one group share their keys uncopied."""
    q = q.unflatten(2, (k.shape[2], -1))
    scores = torch.einsum("btged,bsgd->bgets", q, k).flatten(1, 2)
    return masked_softmax(scores * q.shape[-1] ** -0.5, mask)


def iterative_inverse(a: LandmarkKernel, iterations: int) -> Inverse:
    """Approach the pseudo-inverse of each matrix from its own norms; zero rows and columns stay zero."""
    norms = a.sum(-2).amax(-1) * a.sum(-1).amax(-1)  # of entries that are never negative
    z = a.mT / norms.masked_fill(norms == 0, 1.0)[..., None, None]
    one = torch.eye(a.shape[-2], dtype=a.dtype, device=a.device)
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * one - az @ (15 * one - az @ (7 * one - az))) / 4
    return z


def _propagate_nan(out: Queries, k: Keys, v: Keys) -> Queries:
    """Give NaN to every query of a head whose keys or values are not all finite: all queries mix them all."""
    if all_finite(k, v):
        return out
    broken = ~(k.isfinite().all(-1) & v.isfinite().all(-1)).all(1)
    return out.masked_fill(
        broken.repeat_interleave(out.shape[2] // k.shape[2], 1)[:, None, :, None], torch.nan
    )
