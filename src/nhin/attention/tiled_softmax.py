r"""Softmax attention over tiles of scores: one forward and one backward pass for every pattern of tiles.

A tile is some query rows and some keys. Each tile gives its rows an output of their own and the log of their
sum of :math:`e^{S}`. Where rows come in several tiles, what is known of a row is one more key, with the score
:math:`L'` and the value :math:`O'`:

.. math::
    L = \log\left(e^{L'} + \sum_s e^{S_s}\right), \qquad O = e^{L' - L} O' + \sum_s e^{S_s - L} V_s .

Nothing that grows like T x S is saved. The backward pass recomputes each tile's weights from the saved log as
:math:`P = e^{S - L}`, and with :math:`\delta_i = \sum_d dO_{id} O_{id}`

.. math::
    dV = P^\top dO, \qquad dS = P \circ (dO\, V^\top - \delta), \qquad
    dQ = \tfrac{1}{\sqrt{D}} dS\, K, \qquad dK = \tfrac{1}{\sqrt{D}} dS^\top Q .

Sums are taken in float32 at least. ``sliced_tiles`` binds patterns whose tiles are slices; a kernel that
gathers its rows by index brings its own ``BoundTile``.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.masked_softmax import upcast
from nhin.errors import UsageError

Rows = Float[Tensor, "M R _"]  # of one tile; M heads, batch rows or buckets at a time
Columns = Float[Tensor, "M L _"]
Scores = Float[Tensor, "M R L"]
Log = Float[Tensor, "*rows 1"]  # to base 2
Bias = Float[Tensor, "H gaps"]  # added to scores; entry i is for a key T - 1 - i positions before its query


# What autograd itself calls: weights * (grad - sum of grad * weights), in one pass.
softmax_backward = torch.ops.aten._softmax_backward_data
LOG2E = math.log2(math.e)  # scores are taken to base 2: MKL's exp is 10 times slower where it underflows


@runtime_checkable
class BoundTile(Protocol):
    """A tile that knows where its rows and keys are stored."""

    joins: bool  # an earlier tile had some of these rows
    whole: bool  # no other tile has any of these rows

    def rows(self, x: Tensor) -> Rows:
        """Return the tile's rows of a tensor laid out like the queries."""
        ...

    def keys(self, x: Tensor) -> Columns:
        """Return the tile's keys of a tensor laid out like the keys."""
        ...

    def set_rows(self, x: Tensor, values: Rows) -> None:
        """Write the tile's rows."""
        ...

    def add_rows(self, x: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
        """Add a scaled product to the tile's rows."""
        ...

    def add_keys(self, x: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
        """Add a scaled product to the tile's keys."""
        ...

    def adjust(self, scores: Scores, bias: Bias | None) -> None:
        """Add the bias, and put minus infinity where a row may not attend."""
        ...

    def add_bias(self, x: Bias, grad: Scores) -> None:
        """Add the gradient of the scores to that of the bias."""
        ...


@runtime_checkable
class TileSource(Protocol):
    """Yields the tiles of a call: each pair of query and key once."""

    def tiles(self, *, backward: bool = False) -> Iterable[BoundTile]:
        """Return the tiles in order; the backward pass may have another."""
        ...

    def fuse(self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log: Tensor) -> Iterable[BoundTile]:
        """Write the rows that a fused kernel answers, without a bias, and return the tiles of the others."""
        ...


class TiledSoftmax(torch.autograd.Function):
    """The output and its gradients, tile by tile; saves inputs, output and logsumexp, never weights."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, source: TileSource) -> Tensor:
        """Return the output."""
        out, log = forward(q, k, v, bias, source)
        ctx.save_for_backward(q, k, v, bias, out, log)
        ctx.source = source
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one gradient per output
        """Return the gradients of q, k, v and the bias."""
        if torch.is_grad_enabled():
            raise UsageError(
                "attention in tiles has no second derivative (create_graph=True); naive has one, "
                "and so has forward_reference(...)"
            )
        *inputs, out, log = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3]
        return *backward(grad, inputs, out, log, ctx.source, bias_grad=wanted), None


def forward(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, source: TileSource) -> tuple[Tensor, Log]:
    """Return the output, zeros where a row attends to nothing, and the logsumexp of each row."""
    dtype, wide = q.dtype, torch.promote_types(q.dtype, torch.float32)
    limits, scale = torch.finfo(wide), LOG2E * q.shape[-1] ** -0.5
    out, log = torch.zeros_like(q), q.new_full((*q.shape[:-1], 1), limits.min, dtype=wide)
    with torch.autocast(q.device.type, enabled=False):
        for tile in source.fuse(q, k, v, out, log) if bias is None else source.tiles():
            if not tile.whole:  # its rows are read and written again
                q, k, v, out = (upcast(x) for x in (q, k, v, out))
            scores = torch.bmm(upcast(tile.rows(q)) * scale, upcast(tile.keys(k)).mT)
            tile.adjust(scores, bias)
            # A row that attends to nothing here has no maximum; against any number its weights are then zero.
            top = scores.amax(-1, keepdim=True).clamp_min_(limits.min)
            values = upcast(tile.keys(v))
            if tile.joins:
                earlier = tile.rows(log)
                top = torch.maximum(top, earlier)
                share, carried = carry_over(tile.rows(out), earlier, top)
                weights = scores.sub_(top).exp2_()
                part, total = carried.baddbmm_(weights, values), weights.sum(-1, keepdim=True).add_(share)
            else:
                weights = scores.sub_(top).exp2_()
                part, total = torch.bmm(weights, values), weights.sum(-1, keepdim=True)
            tile.set_rows(out, part.div_(total.clamp_min_(limits.tiny)))
            tile.set_rows(log, total.log2_().add_(top))
        return out.to(dtype), log


def carry_over(out: Rows, log: Log, top: Log) -> tuple[Log, Rows]:
    """Return the outcome of earlier tiles as one more key: its weight, and its value times that."""
    share = (log - top).exp2_()
    return share, out * share


def backward(
    grad: Tensor,
    inputs: Sequence[Any],
    out: Tensor,
    log: Tensor,
    source: TileSource,
    *,
    bias_grad: bool = False,
) -> tuple[Tensor | None, ...]:
    """Recompute the weights of each tile and return the gradients of q, k, v and the bias."""
    *given, bias = inputs
    with torch.autocast(grad.device.type, enabled=False):
        grad, q, k, v = (upcast(x) for x in (grad, *given))
        scale = q.shape[-1] ** -0.5
        delta: Tensor | None = None
        dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
        dbias = torch.zeros_like(bias) if bias_grad else None
        for tile in source.tiles(backward=True):
            rows, keys, rows_grad = tile.rows(q), tile.keys(k), tile.rows(grad)
            scores = torch.bmm(rows * (LOG2E * scale), keys.mT)
            tile.adjust(scores, bias)
            weights = scores.sub_(tile.rows(log)).exp2_()
            tile.add_keys(dv, weights.mT, rows_grad, 1.0)
            change = torch.bmm(rows_grad, tile.keys(v).mT)
            if tile.whole:
                # Exactly zero for a row with one key, which delta would miss by a rounding.
                change = softmax_backward(change, weights, -1, weights.dtype)
            else:
                delta = (grad * upcast(out)).sum(-1, keepdim=True) if delta is None else delta
                change.sub_(tile.rows(delta)).mul_(weights)
            tile.add_rows(dq, change, keys, scale)
            tile.add_keys(dk, change.mT, rows, scale)
            if dbias is not None:
                tile.add_bias(dbias, change)
    return *(x.to(like.dtype) for x, like in zip((dq, dk, dv), given, strict=True)), dbias
