r"""LSH attention (Reformer): a query sees the keys that random directions put into its bucket.

.. math::
    h_r(x) = \arg\max \left[x R_r;\; -x R_r\right], \qquad R_r \in \mathbb{R}^{D \times b / 2}, \quad
    r = 1, \dots, n

    A_i = \{\, j : j = i \;\lor\; h_r(q_i) = h_r(k_j) \text{ for some } r \,\}, \qquad
    o_i = \sum_{j \in A_i} \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right) v_j

Softmax is ruled by the largest scores, and those belong to keys that point where the query points. Vectors
that lie close fall on the same of b directions more often than others, so the keys of a query's own bucket
are a guess at the keys that matter; n rounds with other directions make it less likely that one of them is
missed. Passing the same tensor as queries and keys, scaled to one length, is what the paper trains with: a
query and its neighbours then share buckets. Directions are drawn once, from the seed alone, and no gradient
passes through the choice of a bucket. Decoding keeps the buckets of the keys beside them: a step hashes one
place and touches only what fell into its buckets.

It pays on long texts, from a few thousand places on, with a model trained with it, and with buckets in
proportion to the length: some 64 to 128 keys in each. It does not pay on short texts, where sorting costs
more than it saves, nor where most keys point one way and fill one bucket: the answer stays right, but the
time is then that of the whole table.

Causal:  the keys of the buckets up to the query's own place; a place always sees its own key.
Cost:    time O((T + S) n b D + n T S D / b) when buckets are even, O(n T S D) at worst; memory
         O((T + S) (D + b + n)), forward and backward, besides one block of scores.
Source:  Kitaev et al. 2020, arXiv:2001.04451, section 2 (hashing, several rounds, shared queries and keys).
Differs: buckets are exact. The paper sorts places by bucket, cuts them into chunks of one size and lets a
         chunk see itself and the one before, so a crowded bucket loses pairs; here a pair that shares a
         bucket is never lost. One softmax runs over the union of all rounds, each key counted once, where
         the paper joins the rounds by their log-sum-exps. Queries and keys are hashed apart, with the same
         directions, which are shared by all heads; pass the same tensor twice to share them as the paper
         does. A place sees its own key like any other, where the paper keeps that for places with nothing
         else to see. Vectors that are not finite, and keys whose value is not, are hashed as zeros. A query
         that may see nothing gives zeros. While ``torch.compile`` traces, and for short texts, the slow twin
         with its T x S table answers. No second derivative of the fast path.
"""

from collections.abc import Callable

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from nhin.attention.base import Cache, CacheSpec, Facts, Keep, Keys, Queries, check_built
from nhin.attention.lsh import kernel
from nhin.attention.lsh.cache import LSHCache
from nhin.attention.masked_softmax import ScoreMask, all_finite, mask_keys, zero_nonfinite
from nhin.attention.masks import KeyPositions, QueryPositions
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.errors import ShapeError
from nhin.ranges import check_size

Buckets = Int[Tensor, "rounds B _ _"]
MAX_DENSE_PAIRS = 200_000  # queries times keys up to which the table is quicker than sorting


class LSH(SoftmaxAttention):
    """Softmax over the keys that share a bucket with the query in any round, and its own key.

    Args:
        head_dim: Width of one head.
        buckets: Buckets of one round, an even number.
        rounds: How many times all is hashed, with other directions each time.
        seed: Draws the directions: the same seed, the same buckets, on every device and in every dtype.
    """

    directions: Float[Tensor, "rounds D half"]
    facts = Facts(
        "lsh",
        "LSH attention (Reformer)",
        "O((T + S)·n·b·D + n·T·S·D/b)",
        "O((T + S)·(D + b + n))",
        False,
        "arXiv:2001.04451",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode", "truncate"}),
        family="sparse",
        state="2·S·G·D + n·S·G",
        use="For long texts where what matters may stand anywhere but points where the query points.",
    )

    def __init__(self, head_dim: int, buckets: int = 64, rounds: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.head_dim = check_size("head_dim", head_dim)
        self.buckets = check_size("buckets", buckets, 2)
        if buckets % 2:
            raise ShapeError(f"buckets is {buckets}; give an even number: every direction makes two")
        self.rounds = check_size("rounds", rounds)
        self.seed = check_size("seed", seed, 0)
        self.register_buffer("directions", draw_directions(rounds, head_dim, buckets // 2, seed))

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse what does not fit, other widths than that of the directions included."""
        super().check(q, k, v, causal=causal, keep=keep)
        check_built(self.facts, q, head_dim=self.head_dim)

    def hash_buckets(self, x: Queries) -> Buckets:
        """Return the bucket of every vector in every round; zeros fall into the first."""
        # In float64, whatever comes in: a bucket must not hang on how a sum was rounded.
        with torch.autocast(x.device.type, enabled=False):
            x = x.detach()
            lost = (x - x).sum(-1, keepdim=True).isnan()
            x = x.double().masked_fill(lost, 0.0)
            return torch.stack([bucket_of(x @ directions) for directions in self.directions])

    def mask(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> ScoreMask | None:
        """Return which keys share a bucket with each query, or stand where it stands."""
        asked = rearrange(self.hash_buckets(q), "r b t h -> r b h t 1")
        held = repeat(self.hash_buckets(k), "r b s g -> r b (g each) 1 s", each=q.shape[2] // k.shape[2])
        seen = (p == s)[None, None]
        for one, other in zip(asked, held, strict=True):
            seen = seen | (one == other)
        return seen

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        traced = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
        if traced or q.shape[1] * k.shape[1] <= MAX_DENSE_PAIRS or q.numel() == 0:
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        k, v, broken = mask_keys(k, keep), mask_keys(v, keep), None
        if not all_finite(k, v):
            k, v, broken = zero_nonfinite(k, v)
        asked = self.hash_buckets(q)
        hashed = kernel.HashedQK(asked, asked if k is q else self.hash_buckets(k), self.buckets)
        if torch.is_autocast_enabled(q.device.type):
            narrow = torch.get_autocast_dtype(q.device.type)
            q, k, v = q.to(narrow), k.to(narrow), v.to(narrow)
        return kernel.attend(q, k, v, hashed, kernel.MaskArgs(causal, keep, broken))

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty state: all keys and values, and the buckets of the keys."""
        return LSHCache(spec, self, self.hash_buckets, self.rounds)

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return buckets by round, scores, who sees whom, weights and output, in the formula's order."""
        told = super().explain(q, k, v, causal=causal, keep=keep)
        return {
            "query_buckets": self.hash_buckets(q),
            "key_buckets": self.hash_buckets(mask_keys(k, keep)),
        } | told

    def _apply(self, fn: Callable, recurse: bool = True) -> "LSH":
        # A cast to half and back would leave other directions: only the device may change.
        exact = self.directions
        super()._apply(fn, recurse)
        self.directions = exact.to(self.directions.device)
        return self


def bucket_of(x: Float[Tensor, "B _ _ half"]) -> Int[Tensor, "B _ _"]:
    """Return which of the directions and, after them, of their opposites is the largest."""
    first = x.abs().argmax(-1, keepdim=True)
    return (first + x.shape[-1] * (x.gather(-1, first) < 0))[..., 0]


def draw_directions(rounds: int, head_dim: int, half: int, seed: int) -> Float[Tensor, "rounds D half"]:
    """Draw directions; in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rounds, head_dim, half, generator=generator, dtype=torch.float64)
