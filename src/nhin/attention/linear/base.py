"""What mechanisms share whose scores are products of positive features: each key is summed once."""

from typing import ClassVar

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Cache, CacheSpec, Keep, Keys, Mechanism, Queries, WeightRows, check_call
from nhin.attention.linear import chunked_scan
from nhin.attention.linear.chunked_scan import (
    FLOOR,
    Mass,
    Sums,
    accumulation_dtype,
    features,
    round_to_power_of_two,
)
from nhin.attention.linear.recurrent_state import RecurrentState
from nhin.attention.masked_softmax import all_finite, make_mask, mask_keys, propagate_nan, zero_nonfinite
from nhin.ranges import check_size

LINEAR_ABILITIES = frozenset({"causal", "keep", "cross", "grouped", "unordered", "decode"})

FeatureInputs = Float[Tensor, "B _ _ M"]
QueryFeatures = Float[Tensor, "B T H M"]
KeyFeatures = Float[Tensor, "B S G M"]
ScanState = tuple[Sums, Mass, Mass]


class KernelizedAttention(Mechanism):
    """Weights that are products of features, normalised: no T x S table is ever formed.

    Args:
        chunk: Places taken at once by the causal form, 1 or more.
    """

    feature_map: ClassVar[str]

    def __init__(self, chunk: int = chunked_scan.CHUNK) -> None:
        super().__init__()
        self.chunk = check_size("chunk", chunk)

    def project(self, x: Queries) -> FeatureInputs:
        """Return what the feature map is taken of: queries and keys as they are, unless a mechanism says."""
        return x

    def feature_count(self, head_dim: int) -> int:
        """Return the number of features."""
        return head_dim

    def check(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool, keep: Tensor | None) -> None:
        """Refuse what does not fit; a mechanism built for sizes adds its own."""
        check_call(self.facts, q, k, v, causal=causal, keep=keep)

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with factored scores; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        device, dtype = q.device.type, q.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        # Sums over thousands of keys overflow in float16; exponents of halves round as later keys decide.
        inner = accumulation_dtype(dtype) if dtype == torch.float16 or self.feature_map == "exp" else dtype
        with torch.autocast(device, enabled=False):
            q, k, v = (x.to(inner) for x in (q, k, v))
            out = (
                self._forward_causal(q, k, v, keep)
                if causal and q.shape[1] != 1
                else self._forward_bidirectional(q, k, v, keep)
            )
        return out.to(dtype)

    def scan(
        self, q: Queries, k: Keys, v: Keys, keep: Keep | None, start: ScanState
    ) -> tuple[Queries, ScanState]:
        """Answer as many queries as keys, causally, going on from what earlier keys left."""
        k, v, broken = mask_keys(k, keep), mask_keys(v, keep), None
        if not all_finite(k, v):
            k, v, broken = zero_nonfinite(k, v)
        out, left = chunked_scan.scan(
            self.project(q), self._key_inputs(k, keep), v, start, self.feature_map, self.chunk
        )
        if broken is None:
            return out, left
        lost = rearrange(broken.any(1), "b g -> (b g) 1")
        s, z, top = left
        return propagate_nan(out, broken), (
            s.masked_fill(lost[..., None], torch.nan),
            z.masked_fill(lost, torch.nan),
            top,
        )

    def update(self, q: Queries, k: Keys, v: Keys, state: ScanState) -> Queries:
        """Answer one query each, the sums growing in place: ``read`` for one place, in a few operations."""
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
        """Mix values the obvious way, with all weights at once: the twin the fast paths must equal."""
        shown = self.weights(q, k, causal=causal, keep=keep)
        v = repeat(mask_keys(v, keep), "b s g d -> b s (g each) d", each=q.shape[2] // v.shape[2])
        return torch.einsum("bhts,bshd->bthd", shown, v)

    def weights(
        self,
        q: Queries,
        k: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        rows: slice | None = None,
    ) -> WeightRows:
        """Return the matrix that the formula implies: products of features, each row over its sum."""
        self.check(q, k, k, causal=causal, keep=keep)
        scores = self._scores(*self._map_features(q[:, rows or slice(None)], k, keep))
        seen = make_mask((q.shape[1], k.shape[1]), q.device, causal, keep)
        if seen is not None:
            scores = scores.masked_fill(~(seen[:, :, rows or slice(None)] if causal else seen), 0.0)
        mass = scores.sum(-1, keepdim=True)
        return scores / mass.masked_fill(mass == 0, 1.0)

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return features, the sums S and Z over all keys, numerator, denominator, weights and output.

        Causally numerator and denominator are of each query's own running sums; S and Z are the last ones.
        """
        self.check(q, k, v, causal=causal, keep=keep)
        fq, fk = self._map_features(q, k, keep)
        values = mask_keys(v, keep)
        scores = self._scores(fq, fk)
        seen = make_mask((q.shape[1], k.shape[1]), q.device, causal, keep)
        if seen is not None:
            scores = scores.masked_fill(~seen, 0.0)
        many = repeat(values, "b s g d -> b s (g each) d", each=q.shape[2] // k.shape[2])
        return {
            "phi(q)": fq,
            "phi(k)": fk,
            "S": torch.einsum("bsgm,bsgd->bgmd", fk, values),
            "Z": fk.sum(1),
            "numerator": torch.einsum("bhts,bshd->bthd", scores, many),
            "denominator": rearrange(scores.sum(-1), "b h t -> b t h"),
            "weights": self.weights(q, k, causal=causal, keep=keep),
            "output": self(q, k, v, causal=causal, keep=keep),
        }

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty state: the sums, whose size no context changes."""
        return RecurrentState(spec, self, self.feature_count(spec.head_dim))

    def _key_inputs(self, k: Keys, keep: Keep | None) -> KeyFeatures:
        """Return what the map of keys is taken of; minus infinity, which has no features, where hidden."""
        x = self.project(k)
        return x if keep is None else x.masked_fill(rearrange(~keep, "b s -> b s 1 1"), float("-inf"))

    def _map_features(self, q: Queries, k: Keys, keep: Keep | None) -> tuple[QueryFeatures, KeyFeatures]:
        """Return features of queries and keys as the formula says, exponentials relative to their largest."""
        x, y = self.project(q), self._key_inputs(mask_keys(k, keep), keep)
        if self.feature_map != "exp":
            return features(self.feature_map, x), features(self.feature_map, y)
        top = _channel_max(y)
        x = x + repeat(top, "b g m -> b 1 (g each) m", each=q.shape[2] // k.shape[2])
        return (x - round_to_power_of_two(x.detach().amax(-1, keepdim=True))).exp().to(q.dtype), (
            y - top[:, None]
        ).exp().to(q.dtype)

    def _scores(self, fq: QueryFeatures, fk: KeyFeatures) -> Float[Tensor, "B H T S"]:
        fk = repeat(fk, "b s g m -> b s (g each) m", each=fq.shape[2] // fk.shape[2])
        return torch.einsum("bthm,bshm->bhts", fq, fk)

    def _forward_bidirectional(self, q: Queries, k: Keys, v: Keys, keep: Keep | None) -> Queries:
        """Sum all keys once and show the sums to every query."""
        fq, fk = self._map_features(q, k, keep)
        s, z = _sum_keys(fk, mask_keys(v, keep))
        fq = rearrange(fq, "b t (g each) m -> b g (each t) m", g=k.shape[2])
        above = torch.matmul(fq, s.to(fq.dtype))
        below = torch.matmul(fq, z.to(fq.dtype)[..., None])
        out = above / below.masked_fill(below == 0, 1.0)
        return rearrange(out, "b g (each t) d -> b t (g each) d", each=q.shape[2] // k.shape[2])

    def _forward_causal(self, q: Queries, k: Keys, v: Keys, keep: Keep | None) -> Queries:
        """Align queries and keys at their end, sum what stands before both, and run over the rest."""
        early, before = max(0, q.shape[1] - k.shape[1]), max(0, k.shape[1] - q.shape[1])
        first, rest = (None, None) if keep is None else (keep[:, :before], keep[:, before:])
        start = self._initial_state(k[:, :before], v[:, :before], first)
        out, _ = self.scan(q[:, early:], k[:, before:], v[:, before:], rest, start)
        return torch.cat([torch.zeros_like(q[:, :early]), out], 1) if early else out

    def _initial_state(self, k: Keys, v: Keys, keep: Keep | None) -> ScanState:
        """Return the sums of keys that every query sees; zeros when there are none."""
        kind = accumulation_dtype(v.dtype)
        groups, width = k.shape[0] * k.shape[2], self.feature_count(k.shape[3])
        if k.shape[1] == 0:
            shape = (groups, width)
            return (
                v.new_zeros(*shape, v.shape[3], dtype=kind),
                v.new_zeros(shape, dtype=kind),
                v.new_full(shape, FLOOR, dtype=kind),
            )
        y = self._key_inputs(mask_keys(k, keep), keep)
        top = _channel_max(y)
        fk = (
            (y - top[:, None]).exp().to(v.dtype)
            if self.feature_map == "exp"
            else features(self.feature_map, y)
        )
        s, z = _sum_keys(fk, mask_keys(v, keep))
        s, z, top = (rearrange(x, "b g ... -> (b g) ...") for x in (s, z, top))
        return s.to(kind), z.to(kind), top.to(kind)


def _sum_keys(fk: KeyFeatures, v: Keys) -> tuple[Float[Tensor, "B G M D"], Float[Tensor, "B G M"]]:
    return torch.einsum("bsgm,bsgd->bgmd", fk, v), fk.sum(1, dtype=accumulation_dtype(v.dtype))


def _channel_max(logs: Float[Tensor, "B S G M"]) -> Float[Tensor, "B G M"]:
    """Return the largest logarithm of each channel, a constant: it cancels."""
    if logs.shape[1] == 0:
        return logs.new_full((logs.shape[0], *logs.shape[2:]), FLOOR)
    return round_to_power_of_two(logs.detach().amax(1)).clamp(min=FLOOR)
