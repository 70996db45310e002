r"""Nystromformer: softmax attention approximated through landmarks of queries and keys.

.. math::
    o_t = \mathrm{softmax}\left(\frac{q_t \tilde K^\top}{\sqrt D}\right)
    \mathrm{softmax}\left(\frac{\tilde Q \tilde K^\top}{\sqrt D}\right)^{+}
    \mathrm{softmax}\left(\frac{\tilde Q K^\top}{\sqrt D}\right) V

The landmarks are means of segments: queries and keys are each divided in order into at most m runs of
(nearly) equal length. Queries are compared with landmarks of keys, landmarks of queries with keys, and the
pseudo-inverse of the small matrix A between the landmarks joins the two. It is not solved for but iterated,

.. math::
    Z_{j+1} = \tfrac14 Z_j (13 I - A Z_j (15 I - A Z_j (7 I - A Z_j))), \qquad
    Z_0 = \frac{A^\top}{\|A\|_1 \|A\|_\infty},

which is only products. Where A is nearly singular six steps stop short of the inverse, which also avoids
amplifying noise most. Products associate, so the T x S table is never formed.

It pays for encoders from a thousand positions on, also to run a model trained with softmax; not where one key
among many must be singled out: a landmark blurs its segment. With no more positions than landmarks the output
approaches softmax attention as the steps grow. The implied weights may be negative and sum to one only where
A is inverted well. An output depends on the other queries of the call too, through their landmarks.

Causal:  refused, since every landmark contains later positions.
Cost:    time O((T + S) m D + m^3); memory O((T + S) m + m^2).
Source:  Xiong et al. 2021, arXiv:2102.03902, algorithm 1.
Differs: each matrix starts the iteration from its own norms, where the authors' code by default takes one
         maximum over the entire batch, which lets one row change another. Landmarks are means over the
         visible keys, by their rank, where theirs count padding as zeros. Lengths need no padding to a
         multiple of m. T and S may differ: A is then not square. Half precision is computed in float32. No
         depthwise convolution of the values is added. Queries at padded positions make landmarks too unless
         ``paired``, for the contract hides keys and not queries.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from nhin.attention.base import Facts, Keep, Keys, Mechanism, Queries, WeightRows
from nhin.attention.masked_softmax import (
    all_finite,
    find_nonfinite,
    mask_keys,
    masked_softmax,
    upcast,
    weighted_sum,
)
from nhin.errors import UsageError
from nhin.ranges import check_size

Landmarks = Float[Tensor, "B M heads D"]
UsedLandmarks = Bool[Tensor, "#B M"]  # a short row leaves some landmarks unused
KernelRows = Float[Tensor, "B H rows M"]
LandmarkKernel = Float[Tensor, "B H M N"]
Inverse = Float[Tensor, "B H N M"]


class NystromFactors(NamedTuple):
    """All factors of the formula but the values."""

    queries: Landmarks
    keys: Landmarks
    left: KernelRows  # from queries to landmarks of keys
    middle: LandmarkKernel  # from landmarks to landmarks
    right: KernelRows  # from landmarks of queries to keys
    inverse: Inverse


class Nystromformer(Mechanism):
    """Softmax attention through landmarks.

    Args:
        landmarks: Maximum number of landmarks of the queries, and of the keys; 1 or more.
        iterations: Steps toward the pseudo-inverse, 1 or more.
        paired: Query t and key t share a position, so the query of a hidden key makes no landmark; for
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
        use="Encoders over long texts, where a blurred view of distant positions is enough.",
    )

    def __init__(self, landmarks: int = 64, iterations: int = 6, paired: bool = False) -> None:
        super().__init__()
        self.landmarks = check_size("landmarks", landmarks)
        self.iterations = check_size("iterations", iterations)
        self.paired = paired

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse inputs that do not fit, also unequal numbers of queries and keys that should be paired."""
        super().check(q, k, v, causal=causal, keep=keep)
        if self.paired and q.shape[1] != k.shape[1]:
            raise UsageError(
                f"{q.shape[1]} queries and {k.shape[1]} keys cannot be paired; "
                f"build {self.facts.name} with paired=False"
            )

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        device, dtype = q.device.type, q.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            q, k, v = upcast(q), mask_keys(upcast(k), keep), mask_keys(upcast(v), keep)
            factors = self._factors(q, k, keep, slice(None))
            out = rearrange(weighted_sum(factors.right, v), "b m h d -> b h m d")
            out = torch.matmul(factors.left, torch.matmul(factors.inverse, out))
            return _propagate_nan(rearrange(out, "b h t d -> b t h d"), k, v).to(dtype)

    def _weights(self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice) -> WeightRows:
        """Return the T x S matrix that the formula implies: the product of its three factors."""
        with torch.autocast(q.device.type, enabled=False):
            factors = self._factors(upcast(q), mask_keys(upcast(k), keep), keep, rows)
            return (factors.left @ factors.inverse @ factors.right).to(q.dtype)

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Return landmarks, the three kernels, the inverse of the middle one, and the implied weights."""
        with torch.autocast(q.device.type, enabled=False):
            factors = self._factors(upcast(q), mask_keys(upcast(k), keep), keep, slice(None))
        return {
            "query landmarks": factors.queries,
            "key landmarks": factors.keys,
            "queries to landmarks": factors.left,
            "landmarks to landmarks": factors.middle,
            "landmarks to keys": factors.right,
            "inverse": factors.inverse,
            "weights": self._weights(q, k, causal, keep, slice(None)),
        }

    def _factors(self, q: Queries, k: Keys, keep: Keep | None, rows: slice) -> NystromFactors:
        """Return the factors, the left one for some of the queries; hidden keys are zeros already."""
        query_keep = keep if self.paired else None
        queries, used_queries = segment_means(mask_keys(q, query_keep), query_keep, self.landmarks)
        keys, used_keys = segment_means(k, keep, self.landmarks)
        used_keys = rearrange(used_keys, "b m -> b 1 1 m")
        unused_queries = rearrange(~used_queries, "b m -> b 1 m 1")
        middle = softmax_kernel(queries, keys, used_keys).masked_fill(unused_queries, 0.0)
        return NystromFactors(
            queries,
            keys,
            softmax_kernel(q[:, rows], keys, used_keys),
            middle,
            softmax_kernel(queries, k, None if keep is None else rearrange(keep, "b s -> b 1 1 s")),
            iterative_inverse(middle, self.iterations),
        )


def segment_means(x: Keys, keep: Keep | None, max_segments: int) -> tuple[Landmarks, UsedLandmarks]:
    """Return the mean of each segment and which segments are used.

    Of n positions that count, that of rank r falls into segment floor(r c / n) of c = min(n, max_segments).

    Args:
        x: Queries or keys; zeros where they do not count.
        keep: Which positions count; all when None.
        max_segments: Maximum number of segments.
    """
    b, s, heads, _ = x.shape
    # One segment at least, if an unused one: an empty matrix has no norm.
    slots = max(1, min(max_segments, s))
    counts = torch.ones(1, s, dtype=torch.bool, device=x.device) if keep is None else keep
    total = counts.sum(1, keepdim=True)
    rank = counts.long().cumsum(1) - 1
    segment = (rank * total.clamp(max=slots)).div(total.clamp(min=1), rounding_mode="floor").clamp(min=0)
    size = counts.new_zeros(counts.shape[0], slots, dtype=torch.long)
    size = size.scatter_add(1, segment, counts.long())
    index = segment + torch.arange(b, device=x.device)[:, None] * slots
    sums = x.new_zeros(b * slots, heads, x.shape[3]).index_add(0, index.flatten(), x.flatten(0, 1))
    sums = rearrange(sums, "(b m) h d -> b m h d", m=slots)
    return sums / size.clamp(min=1).to(x.dtype)[:, :, None, None], size > 0


def softmax_kernel(q: Queries, k: Keys, mask: Bool[Tensor, "#B 1 1 S"] | None) -> Float[Tensor, "B H T S"]:
    """Return softmax weights of queries over keys, without copying shared keys."""
    q = q.unflatten(2, (k.shape[2], -1))
    scores = torch.einsum("btged,bsgd->bgets", q, k).flatten(1, 2)
    return masked_softmax(scores * q.shape[-1] ** -0.5, mask)


def iterative_inverse(a: LandmarkKernel, iterations: int) -> Inverse:
    """Approximate the pseudo-inverse of each matrix; zero rows and columns stay zero."""
    norms = a.sum(-2).amax(-1) * a.sum(-1).amax(-1)  # of entries >= 0
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
    affected = find_nonfinite(k, v).any(1).repeat_interleave(out.shape[2] // k.shape[2], 1)
    return out.masked_fill(affected[:, None, :, None], torch.nan)
