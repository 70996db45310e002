r"""LSH attention (Reformer): a query attends to the keys that random directions put into its bucket.

.. math::
    h_r(x) = \arg\max \left[x R_r;\; -x R_r\right], \qquad R_r \in \mathbb{R}^{D \times b / 2}, \quad
    r = 1, \dots, n

    A_i = \{\, j : j = i \;\lor\; h_r(q_i) = h_r(k_j) \text{ for some } r \,\}, \qquad
    o_i = \sum_{j \in A_i} \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right) v_j

A softmax is dominated by keys that point in the direction of the query. Similar vectors are closest to the
same of b directions more often than others, so the keys of a query's bucket likely matter; n rounds with
other directions make it less likely to miss one. The paper trains with the same tensor as queries and keys,
scaled to one length: a query and its neighbors then share buckets. Directions are drawn once, from the seed,
and no gradient passes through the choice of a bucket. Decoding caches the buckets of the keys.

It pays on long texts, from a few thousand positions on, with a model trained with it, and some 64 to 128 keys
per bucket. It does not pay on short texts, where sorting costs more than it saves, nor where most keys fill
one bucket: the time is then that of the entire table.

Causal:  the keys of the buckets up to the query's own position; a position always sees its own key.
Cost:    time O((T + S) n b D + n T S D / b) when buckets are even, O(n T S D) at worst; memory
         O((T + S) (D + b + n)), forward and backward, besides one block of scores.
Source:  Kitaev et al. 2020, arXiv:2001.04451, section 2 (hashing, several rounds, shared queries and keys).
Differs: buckets are exact. The paper sorts positions by bucket, divides them into equal chunks and lets a
         chunk see itself and the one before, so a crowded bucket loses pairs; here none is lost. One softmax
         runs over the union of all rounds, where the paper joins the rounds by their log-sum-exps. Queries
         and keys are hashed apart, with directions shared by all heads. A position sees its own key like any
         other, where the paper reserves that for positions with nothing else to see. Vectors that are not
         finite, and keys whose value is not, are hashed as zeros. ``torch.compile`` and short texts use the
         reference. No second derivative of the fast path.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from nhin.attention.base import ABILITIES, Cache, CacheSpec, Facts, Keep, Keys, Queries
from nhin.attention.lsh import kernel
from nhin.attention.lsh.cache import Buckets, LSHCache
from nhin.attention.masked_softmax import ScoreMask, autocast_inputs, is_transformed, mask_keys, shield_inputs
from nhin.attention.masks import KeyPositions, QueryPositions
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.attention.tables import ComputedTables
from nhin.errors import ShapeError
from nhin.ranges import check_size

_MAX_BUCKETS, _MAX_ROUNDS = 2**20, 1024
MAX_DENSE_PAIRS = 200_000  # queries times keys up to which the table is faster than sorting


class LSH(SoftmaxAttention, ComputedTables):
    """Softmax over the keys that share a bucket with the query in any round, and its own key.

    Args:
        head_dim: Width of one head.
        buckets: Buckets of one round, an even number, at most 1,048,576.
        rounds: Number of times that all is hashed, each with other directions; at most 1,024.
        seed: Draws the directions: the same seed, the same buckets, on every device and in every dtype.
    """

    directions: Float[Tensor, "rounds D half"]
    save_tables = True
    facts = Facts(
        "lsh",
        "LSH attention (Reformer)",
        "O((T + S)·n·b·D + n·T·S·D/b)",
        "O((T + S)·(D + b + n))",
        False,
        "arXiv:2001.04451",
        frozenset(ABILITIES) - {"unordered"},
        family="sparse",
        state="2·S·G·D + n·S·G",
        use="For long texts where the keys that matter may be anywhere but resemble the query.",
    )

    def __init__(self, head_dim: int, buckets: int = 64, rounds: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.head_dim = check_size("head_dim", head_dim)
        self.buckets = check_size("buckets", buckets, 2, _MAX_BUCKETS)
        if buckets % 2:
            raise ShapeError(f"buckets is {buckets}; give an even number: every direction makes two")
        self.rounds = check_size("rounds", rounds, 1, _MAX_ROUNDS)
        self.seed = check_size("seed", seed, 0)
        self._draw = rounds, head_dim, buckets // 2, seed
        self.build_tables()

    def compute_tables(self) -> dict[str, Tensor]:
        """Return the random directions."""
        return {"directions": draw_directions(*self._draw)}

    def hash_buckets(self, x: Queries) -> Buckets:
        """Return the bucket of every vector in every round; zeros fall into the first."""
        # In float64: a bucket must not depend on how a sum was rounded.
        with torch.autocast(x.device.type, enabled=False):
            x = x.detach()
            nonfinite = (x - x).sum(-1, keepdim=True).isnan()
            x = x.double().masked_fill(nonfinite, 0.0)
            return torch.stack([bucket_of(x @ directions) for directions in self.directions])

    def mask(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> ScoreMask | None:
        """Return which keys share a bucket with each query, or its position."""
        query_buckets = rearrange(self.hash_buckets(q), "r b t h -> r b h t 1")
        n = q.shape[2] // k.shape[2]
        key_buckets = repeat(self.hash_buckets(k), "r b s g -> r b (g n) 1 s", n=n)
        mask = (p == s)[None, None]
        for of_queries, of_keys in zip(query_buckets, key_buckets, strict=True):
            mask = mask | (of_queries == of_keys)
        return mask

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        traced = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or is_transformed()
        if traced or q.shape[1] * k.shape[1] <= MAX_DENSE_PAIRS or q.numel() == 0:
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        k, v, nonfinite = shield_inputs(k, v, keep)
        query_buckets = self.hash_buckets(q)
        key_buckets = query_buckets if k is q else self.hash_buckets(k)
        hashed = kernel.HashedQK(query_buckets, key_buckets, self.buckets)
        mask_args = kernel.MaskArgs(causal, keep, nonfinite)
        return kernel.attend(*autocast_inputs(q, k, v), hashed, mask_args)

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty cache of all keys and values, and of the buckets of the keys."""
        return LSHCache(spec, self, self.hash_buckets, self.rounds)

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Return buckets by round, scores, mask and weights."""
        key_buckets = self.hash_buckets(mask_keys(k, keep))
        buckets = {"query_buckets": self.hash_buckets(q), "key_buckets": key_buckets}
        return buckets | super()._explain(q, k, v, causal, keep)


def bucket_of(x: Float[Tensor, "B _ _ half"]) -> Int[Tensor, "B _ _"]:
    """Return which of the directions and, after them, of their opposites is closest."""
    first = x.abs().argmax(-1, keepdim=True)
    return (first + x.shape[-1] * (x.gather(-1, first) < 0))[..., 0]


def draw_directions(rounds: int, head_dim: int, half: int, seed: int) -> Float[Tensor, "rounds D half"]:
    """Draw directions; in float64."""
    # On the CPU everywhere, for the same numbers.
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rounds, head_dim, half, generator=generator, dtype=torch.float64, device="cpu")
