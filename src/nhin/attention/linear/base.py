"""Base of mechanisms whose scores are products of positive features: each key is summed once."""

from functools import partial
from typing import ClassVar

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Cache, CacheSpec, Facts, Keep, Keys, Mechanism, Queries, WeightRows
from nhin.attention.linear import chunked_scan
from nhin.attention.linear.chunked_scan import (
    FLOOR,
    ScanState,
    accumulation_dtype,
    features,
    product_dtype,
    round_to_power_of_two,
)
from nhin.attention.linear.recurrent_state import RecurrentState
from nhin.attention.masked_softmax import (
    is_transformed,
    make_mask,
    mask_keys,
    masked_softmax,
    propagate_nan,
    repeat_heads,
    shield_inputs,
    weighted_sum,
)
from nhin.attention.pair_scores import add_pairs, score_pairs
from nhin.ranges import check_size

LINEAR_ABILITIES = frozenset({"causal", "keep", "cross", "grouped", "unordered", "decode"})

FeatureInputs = Float[Tensor, "B _ _ M"]
QueryFeatures = Float[Tensor, "B T H M"]
KeyFeatures = Float[Tensor, "B S G M"]

linear_facts = partial(
    Facts,
    time="O((T + S)·D²)",
    memory="O(D²)",
    exact=False,
    source="arXiv:2006.16236",
    abilities=LINEAR_ABILITIES | {"convex"},
    family="linear",
    state="G·(D² + 2·D)",
)


class KernelizedAttention(Mechanism):
    """Weights that are normalized products of features: no T x S table is ever formed.

    Args:
        chunk: Positions in a chunk of the causal form, 1 or more.
    """

    feature_map: ClassVar[str]

    def __init__(self, chunk: int = chunked_scan.CHUNK) -> None:
        super().__init__()
        self.chunk = check_size("chunk", chunk)

    def project(self, x: Queries) -> FeatureInputs:
        """Return the inputs of the feature map: queries or keys, unless a mechanism overrides this."""
        return x

    def feature_count(self, head_dim: int) -> int:
        """Return the number of features."""
        return head_dim

    def scan(
        self, q: Queries, k: Keys, v: Keys, keep: Keep | None, start: ScanState
    ) -> tuple[Queries, ScanState]:
        """Answer as many queries as keys, causally, continuing from the sums of earlier keys."""
        k, v, nonfinite = shield_inputs(k, v, keep)
        out, state = chunked_scan.scan(
            self.project(q), self._key_inputs(k, keep), v, start, self.feature_map, self.chunk
        )
        if nonfinite is None:
            return out, state
        lost = rearrange(nonfinite.any(1), "b g -> (b g) 1")
        s, z, top = state
        s, z = s.masked_fill(lost[..., None], torch.nan), z.masked_fill(lost, torch.nan)
        return propagate_nan(out, nonfinite), (s, z, top)

    def update(self, q: Queries, k: Keys, v: Keys, state: ScanState) -> Queries:
        """Answer one query in every row and add its key to the sums in place: ``scan`` in few operations."""
        s, z, top = state
        groups, dtype = s.shape[0], s.dtype
        v = v.to(dtype).reshape(groups, 1, v.shape[-1])
        x, y = self.project(q).to(dtype), self.project(k).to(dtype)
        x, y = x.reshape(groups, -1, z.shape[1]), y.reshape(groups, 1, z.shape[1])
        if self.feature_map == "exp":
            new = torch.maximum(top, y[:, 0])
            shrink = (top - new).exp_()
            s *= shrink[..., None]
            z *= shrink
            top.copy_(new)
            x = x + new[:, None]
            x, y = (x - x.amax(-1, keepdim=True)).exp_(), (y - new[:, None]).exp_()
        else:
            x, y = features(self.feature_map, x), features(self.feature_map, y)
        s.baddbmm_(y.mT, v)
        z += y[:, 0]
        below = torch.bmm(x, z[..., None])
        return torch.bmm(x, s).div_(below.masked_fill_(below == 0, 1.0)).to(q.dtype).view(q.shape)

    def forward_reference(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with all weights at once, as the formula says: the reference of the fast paths."""
        # Not causally, a key that is not finite spreads to every query by itself.
        k, v, nonfinite = shield_inputs(k, v, keep, nonfinite=causal)
        return propagate_nan(weighted_sum(self.weights(q, k, causal=causal, keep=keep), v), nonfinite)

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty cache: the sums, whose size does not depend on the context."""
        return RecurrentState(spec, self, self.feature_count(spec.head_dim))

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        traced = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export() or is_transformed()
        device, dtype = q.device.type, q.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        scans = causal and q.shape[1] != 1
        attend = self._forward_causal if scans else self._forward_bidirectional
        # Sums over thousands of keys overflow in float16; half-precision exponents would be rounded.
        wide = dtype == torch.float16 or self.feature_map == "exp"
        # A scan casts chunk by chunk.
        inner = accumulation_dtype(dtype) if wide else dtype if scans else product_dtype(dtype, device)
        with torch.autocast(device, enabled=False):
            q, k, v = q.to(inner), k.to(inner), v.to(inner)
            if traced:
                return self.forward_reference(q, k, v, causal=causal, keep=keep).to(dtype)
            return attend(q, k, v, keep).to(dtype)

    def _weights(self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice) -> WeightRows:
        """Return the matrix that the formula implies: products of features, each row over its sum."""
        mask = make_mask((q.shape[1], k.shape[1]), q.device, causal, keep)
        mask = mask[:, :, rows] if mask is not None and causal else mask
        if self.feature_map == "exp":
            return masked_softmax(self._log_scores(q[:, rows], k, keep), mask).to(q.dtype)
        scores = self._scores(*self._map_features(q[:, rows], k, keep))
        scores = scores if mask is None else scores.masked_fill(~mask, 0.0)
        mass = scores.sum(-1, keepdim=True)
        return scores / mass.masked_fill(mass == 0, 1.0)

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Return features, the sums S and Z over all keys, numerator, denominator and weights.

        Causally, numerator and denominator are of each query's own running sums; S and Z are the last ones.
        Exponential features are relative to the largest of their channel, causally so far; numerator and
        denominator to the query's largest weight. All of these cancel.
        """
        fq, fk = self._map_features(q, k, keep)
        values, last = mask_keys(v, keep), fk
        if causal and self.feature_map == "exp":
            fq, fk = self._running_features(q, k, keep)
        mask = make_mask((q.shape[1], k.shape[1]), q.device, causal, keep)
        if self.feature_map == "exp":
            scores = self._weights(q, k, causal, keep, slice(None))
            top = scores.detach().amax(-1, keepdim=True) if k.shape[1] else scores.sum(-1, keepdim=True)
            scores = scores / top.masked_fill(top == 0, 1.0)
        else:
            scores = self._scores(fq, fk)
            scores = scores if mask is None else scores.masked_fill(~mask, 0.0)
        return {
            "phi(q)": fq,
            "phi(k)": fk,
            "S": torch.einsum("bsgm,bsgd->bgmd", last, values),
            "Z": last.sum(1),
            "numerator": weighted_sum(scores, values),
            "denominator": rearrange(scores.sum(-1), "b h t -> b t h"),
            "weights": self._weights(q, k, causal, keep, slice(None)),
        }

    def _key_inputs(self, k: Keys, keep: Keep | None) -> KeyFeatures:
        """Return the inputs of the map of keys; minus infinity, whose features are zeros, where hidden."""
        x = self.project(k)
        return x if keep is None else x.masked_fill(rearrange(~keep, "b s -> b s 1 1"), float("-inf"))

    def _map_features(self, q: Queries, k: Keys, keep: Keep | None) -> tuple[QueryFeatures, KeyFeatures]:
        """Return features as the formula says, exponentials relative to their largest."""
        x, y = self.project(q), self._key_inputs(mask_keys(k, keep), keep)
        if self.feature_map != "exp":
            return features(self.feature_map, x), features(self.feature_map, y)
        top = _channel_max(y)
        x = x + repeat(top, "b g m -> b 1 (g n) m", n=q.shape[2] // k.shape[2])
        fq = (x - round_to_power_of_two(x.detach().amax(-1, keepdim=True))).exp()
        return fq.to(q.dtype), (y - top[:, None]).exp().to(q.dtype)

    def _running_features(self, q: Queries, k: Keys, keep: Keep | None) -> tuple[QueryFeatures, KeyFeatures]:
        """Return exponential features relative to the largest of their channel so far."""
        x, y = self.project(q), self._key_inputs(mask_keys(k, keep), keep)
        top = y.detach().cummax(1).values.clamp(min=FLOOR)
        before = top.new_full((len(y), max(0, x.shape[1] - y.shape[1]), *y.shape[2:]), FLOOR)
        own = torch.cat([before, top], 1)[:, -x.shape[1] :] if x.shape[1] else before
        x = x + repeat_heads(own, q.shape[2])
        fq = (x - x.detach().amax(-1, keepdim=True)).exp()
        return fq.to(q.dtype), (y - top).exp().to(q.dtype)

    def _log_scores(self, q: Queries, k: Keys, keep: Keep | None) -> Float[Tensor, "B H T S"]:
        """Return the logarithms of products of exponential features, of which none can underflow."""
        q, k = (x.to(accumulation_dtype(x.dtype)) for x in (q, mask_keys(k, keep)))
        return score_pairs(_log_products, self.project(q), repeat_heads(self.project(k), q.shape[2]))

    def _scores(self, fq: QueryFeatures, fk: KeyFeatures) -> Float[Tensor, "B H T S"]:
        return torch.einsum("bthm,bshm->bhts", fq, repeat_heads(fk, fq.shape[2]))

    def _forward_bidirectional(self, q: Queries, k: Keys, v: Keys, keep: Keep | None) -> Queries:
        """Sum all keys once, for every query."""
        fq, fk = self._map_features(q, k, keep)
        s, z = _sum_keys(fk, mask_keys(v, keep))
        fq = rearrange(fq, "b t (g n) m -> b g (n t) m", g=k.shape[2])
        above = torch.matmul(fq, s.to(fq.dtype))
        below = torch.matmul(fq, z.to(fq.dtype)[..., None])
        out = above / below.masked_fill(below == 0, 1.0)
        return rearrange(out, "b g (n t) d -> b t (g n) d", n=q.shape[2] // k.shape[2])

    def _forward_causal(self, q: Queries, k: Keys, v: Keys, keep: Keep | None) -> Queries:
        """Align queries and keys at their end, sum the keys before both, and scan the rest."""
        early, before = max(0, q.shape[1] - k.shape[1]), max(0, k.shape[1] - q.shape[1])
        first, rest = (None, None) if keep is None else (keep[:, :before], keep[:, before:])
        start = self._initial_state(k[:, :before], v[:, :before], first)
        out, _ = self.scan(q[:, early:], k[:, before:], v[:, before:], rest, start)
        return torch.cat([torch.zeros_like(q[:, :early]), out], 1) if early else out

    def _initial_state(self, k: Keys, v: Keys, keep: Keep | None) -> ScanState:
        """Return the sums of keys that every query sees; zeros when there are none."""
        dtype = accumulation_dtype(v.dtype)
        if k.shape[1] == 0:
            shape = (k.shape[0] * k.shape[2], self.feature_count(k.shape[3]))
            s, z = v.new_zeros(*shape, v.shape[3], dtype=dtype), v.new_zeros(shape, dtype=dtype)
            return s, z, v.new_full(shape, FLOOR, dtype=dtype)
        y = self._key_inputs(mask_keys(k, keep), keep).to(product_dtype(v.dtype, v.device.type))
        top = _channel_max(y)
        if self.feature_map == "exp":
            fk = (y - top[:, None]).exp().to(v.dtype)
        else:
            fk = features(self.feature_map, y)
        sums = *_sum_keys(fk, mask_keys(v, keep)), top
        s, z, top = (rearrange(x, "b g ... -> (b g) ...").to(dtype) for x in sums)
        return s, z, top


def _log_products(x: QueryFeatures, y: Float[Tensor, "B S H M"]) -> Float[Tensor, "B H T S"]:
    return add_pairs(x, y).logsumexp(-1)


def _sum_keys(fk: KeyFeatures, v: Keys) -> tuple[Float[Tensor, "B G M D"], Float[Tensor, "B G M"]]:
    mass = fk.sum(1, dtype=accumulation_dtype(v.dtype))
    return torch.einsum("bsgm,bsgd->bgmd", fk, v.to(fk.dtype)), mass


def _channel_max(logs: Float[Tensor, "B S G M"]) -> Float[Tensor, "B G M"]:
    """Return the largest logarithm of each channel, a constant: it cancels."""
    if logs.shape[1] == 0:
        return logs.new_full((logs.shape[0], *logs.shape[2:]), FLOOR)
    return round_to_power_of_two(logs.detach().amax(1)).clamp(min=FLOOR)
