"""Softmax over scores with a number added that depends on the distance alone.

The numbers for all distances are one line for each head; the T x S table of them is that line slid along.
It is written out for one block of queries at a time, and again in the backward pass, so memory does not grow
like T x S; the gradient of the line is a sum along diagonals. PyTorch's own attention takes a bias as a
mask, but holds all of it, and computes slowly and with all weights at once when the bias is learned.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries, WeightRows, check_built
from nhin.attention.masked_softmax import all_finite, mask_keys, propagate_nan, zero_nonfinite
from nhin.attention.masks import KeyPositions, QueryPositions
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.errors import UsageError

MAX_TILE_ENTRIES = 2**20  # of a block's biases for each head and row of the batch

Gap = Int[Tensor, "*shape"]
BiasLine = Float[Tensor, "H gaps"]
PackedHeads = Float[Tensor, "B G _ D"]  # the queries of a group of heads, one head after the other
TileBias = Float[Tensor, "_ G _ keys"]


class BiasedAttention(SoftmaxAttention):
    """A softmax over scaled dot products plus a bias that depends on the gap between query and key."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def bias(self, gap: Gap) -> Float[Tensor, "H *shape"]:
        """Return what is added to the scores of each head when the key is ``gap`` places before the query."""
        raise NotImplementedError

    def scores(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> WeightRows:
        """Return scaled dot products with the bias added."""
        products = super().scores(q, k, p, s, size)
        return (products + self.bias(p - s)).to(products.dtype)

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse what does not fit, also another number of heads than built for."""
        super().check(q, k, v, causal=causal, keep=keep)
        check_built(self.facts, q, heads=self.heads)

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or 0 in (q.numel(), k.numel()):
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        if torch.is_autocast_enabled(q.device.type):
            narrow = torch.get_autocast_dtype(q.device.type)
            q, k, v = q.to(narrow), k.to(narrow), v.to(narrow)
        k, v, broken = mask_keys(k, keep), mask_keys(v, keep), None
        if causal and q.shape[1] != 1 and not all_finite(k, v):
            k, v, broken = zero_nonfinite(k, v)
        # From the key furthest behind the first query to the one furthest ahead of the last, the other way.
        gaps = torch.arange(k.shape[1] - 1, -q.shape[1], -1, device=q.device)
        line = self.bias(gaps)
        line = line.to(q.dtype if q.dtype == torch.float64 else torch.float32)
        out = BiasedFunction.apply(q, k, v, line, keep, causal)
        return out if broken is None else propagate_nan(out, broken)

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return dot products, bias, their sum, who sees whom, weights and output."""
        self.check(q, k, v, causal=causal, keep=keep)
        t, s = q.shape[1], k.shape[1]
        keys = torch.arange(s, device=q.device)
        p = (torch.arange(t, device=q.device) + (s - t))[:, None]
        told = {"products": super().scores(q, mask_keys(k, keep), p, keys, p), "bias": self.bias(p - keys)}
        return told | super().explain(q, k, v, causal=causal, keep=keep)


class BiasTile(NamedTuple):
    """Some queries and the keys they may see."""

    rows: slice
    keys: slice
    bias: TileBias  # minus infinity where a key may not be seen
    empty: Tensor | None  # queries that see nothing, when there may be any


class BiasedFunction(torch.autograd.Function):
    """The answer block by block, and its gradients by making each block again."""

    @staticmethod
    def forward(q: Queries, k: Keys, v: Keys, line: BiasLine, keep: Keep | None, causal: bool) -> Queries:
        """Return the answer."""
        each, out = q.shape[2] // k.shape[2], torch.zeros_like(q)
        k, v = (rearrange(x, "b s g d -> b g s d") for x in (k, v))
        for block in _iter_tiles(q, k, line, keep, causal):
            with torch.autocast(q.device.type, enabled=False):
                mixed = F.scaled_dot_product_attention(
                    _pack_heads(q[:, block.rows], each), k[:, :, block.keys], v[:, :, block.keys], block.bias
                )
            mixed = mixed if block.empty is None else mixed.masked_fill(block.empty, 0.0)
            out[:, block.rows] = _unpack_heads(mixed, each)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Queries) -> None:
        """Keep what the blocks will be made from again."""
        *tensors, ctx.causal = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Queries) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one gradient per output
        """Return the gradients of q, k, v and the line."""
        if torch.is_grad_enabled():
            raise UsageError(
                "a biased attention has no second derivative (create_graph=True); call slowly(...)"
            )
        q, k, v, line, keep = ctx.saved_tensors
        each, t, wide = q.shape[2] // k.shape[2], q.shape[1], line.dtype
        k, v = (rearrange(x, "b s g d -> b g s d").to(wide) for x in (k, v))
        dq, dk, dv, dline = (torch.zeros_like(x, dtype=wide) for x in (q, k, v, line))
        with torch.autocast(q.device.type, enabled=False):
            for block in _iter_tiles(q, k, line, keep, ctx.causal):
                rows, keys = block.rows, block.keys
                asking = _pack_heads(q[:, rows], each).to(wide) * q.shape[-1] ** -0.5
                weights = (asking @ k[:, :, keys].mT).add_(block.bias).softmax(-1)
                if block.empty is not None:
                    weights = weights.masked_fill_(block.empty, 0.0)
                arriving = _pack_heads(grad[:, rows], each).to(wide)
                dv[:, :, keys] += weights.mT @ arriving
                change = arriving @ v[:, :, keys].mT
                change = change.sub_((change * weights).sum(-1, keepdim=True)).mul_(weights)
                dq[:, rows] = _unpack_heads(change @ k[:, :, keys], each) * q.shape[-1] ** -0.5
                dk[:, :, keys] += change.mT @ asking
                if ctx.needs_input_grad[3]:
                    table = rearrange(change.sum(0), "g (each r) s -> (g each) r s", each=each)
                    first = t - rows.stop
                    dline[:, first : first + table.shape[1] + table.shape[2] - 1] += _sum_diagonals(table)
        dk, dv = (rearrange(x, "b g s d -> b s g d").to(q.dtype) for x in (dk, dv))
        return dq.to(q.dtype), dk, dv, dline, None, None


def _iter_tiles(q: Queries, k: PackedHeads, line: BiasLine, keep: Keep | None, causal: bool) -> Any:
    """Yield blocks of queries with their part of the table of biases, as large as memory allows."""
    t, s, each = q.shape[1], k.shape[2], q.shape[2] // k.shape[1]
    batch = 1 if keep is None else keep.shape[0]
    size = max(16, min(256, MAX_TILE_ENTRIES // max(1, s * batch)))
    for start in range(0, t, size):
        stop = min(t, start + size)
        seen = min(s, s - t + stop) if causal else s
        if seen < 1:
            continue
        # Row r of the table is the line from t - 1 - r on.
        table = line[:, t - stop : t - start + seen - 1].unfold(1, seen, 1).flip(1)
        hidden = None if keep is None else ~keep[:, None, None, :seen]
        if causal:
            last = torch.arange(start, stop, device=q.device) + (s - t)
            later = torch.arange(seen, device=q.device) > last[:, None]
            hidden = later if hidden is None else hidden | later
        table, empty = table[None], None
        if hidden is not None:
            table = table.masked_fill(hidden, float("-inf"))
            if keep is not None or s - t + start < 0:
                empty = hidden.all(-1, keepdim=True).expand(batch, q.shape[2], stop - start, 1)
                table = table.masked_fill(empty, 0.0)
                empty = rearrange(empty, "b (g each) r 1 -> b g (each r) 1", each=each)
        added = rearrange(table, "b (g each) r s -> b g (each r) s", each=each)
        yield BiasTile(slice(start, stop), slice(0, seen), added, empty)


def _sum_diagonals(table: Float[Tensor, "H r s"]) -> Float[Tensor, "H gaps"]:
    """Return the sums along the diagonals of a block, as the line runs."""
    rows, keys = table.shape[1:]
    # Rows of r + s entries, read as rows of one fewer, stand one further to the right each time.
    slanted = F.pad(table.flip(1), (0, rows)).flatten(1)[:, : rows * (rows + keys - 1)]
    return slanted.unflatten(1, (rows, rows + keys - 1)).sum(1)


def _pack_heads(x: Queries, group_size: int) -> PackedHeads:
    return rearrange(x, "b t (g each) d -> b g (each t) d", each=group_size)


def _unpack_heads(x: PackedHeads, group_size: int) -> Queries:
    return rearrange(x, "b g (each t) d -> b t (g each) d", each=group_size)
