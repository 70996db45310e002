r"""FlashAttention: exact softmax attention, one tile of scores at a time.

.. math::
    m_i^{(j)} &= \max\left(m_i^{(j-1)}, \max_s S_{is}^{(j)}\right), \qquad
    S^{(j)} = Q_i K_j^\top / \sqrt{D}

    \ell_i^{(j)} &= e^{m_i^{(j-1)} - m_i^{(j)}}\, \ell_i^{(j-1)} + \sum_s e^{S_{is}^{(j)} - m_i^{(j)}}

    O_i^{(j)} &= e^{m_i^{(j-1)} - m_i^{(j)}}\, O_i^{(j-1)} + e^{S^{(j)} - m_i^{(j)}} V_j

    O_i &= O_i^{(J)} / \ell_i^{(J)}, \qquad L_i = m_i^{(J)} + \log \ell_i^{(J)}

The table of scores is never whole. It is cut into tiles; each query remembers the largest score so far,
the sum of its weights against that maximum, and the values mixed with them, and when a later tile brings a
larger maximum, what was summed before shrinks by the difference. The backward pass keeps no weights either:
it makes each tile again from the queries, the keys and the saved :math:`L`, as :math:`P = e^{S - L}`, and
with :math:`\delta_i = \sum_d dO_{id} O_{id}`

.. math::
    dV_j = P^\top dO, \qquad dS = P \circ (dO\, V_j^\top - \delta), \qquad
    dQ_i = \tfrac{1}{\sqrt{D}} dS\, K_j, \qquad dK_j = \tfrac{1}{\sqrt{D}} dS^\top Q_i .

``order="queries"`` finishes a block of queries before the next (FlashAttention-2: each answer is written
once, and blocks of queries need not wait for each other); ``order="keys"`` reads each block of keys once and
comes back to every query (FlashAttention-1). The answer is the same. It pays to read it, to check kernels by
it, and to train on long text in little memory where there is no kernel; where there is one,
``softmax`` calls it.

Causal:  tiles whose keys are all later than their queries are left out, which halves the work.
Cost:    time O(T S D); memory O((T + S) D), forward and backward, whatever the lengths.
Source:  Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4;
         Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
Differs: both orders divide by the sum once, at the end, and save L, as FlashAttention-2 does; the backward
         pass always loops over keys outside, as both papers do; a query that may see nothing gives zeros; no
         second derivative.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from nhin.attention.base import Facts, Keep, Keys, Queries
from nhin.attention.exact.online_softmax import (
    FlashTiling,
    KeepRows,
    KeyRows,
    OnlineSoftmax,
    QueryRows,
    RowScalar,
    finalize,
    iter_online_softmax,
    tile_scores,
)
from nhin.attention.masked_softmax import all_finite, mask_keys, propagate_nan, zero_nonfinite
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.errors import UsageError
from nhin.ranges import check_size

TileArgs = Sequence[int]  # a Tiling, as a compiler passes it


class Flash(SoftmaxAttention):
    """Exact attention in tiles: nothing that grows like T x S is ever held.

    Args:
        order: The outer loop: over blocks of "queries" or of "keys".
        query_block: Queries in one tile.
        key_block: Keys in one tile.
    """

    facts = Facts(
        "flash",
        "FlashAttention in tiles",
        "O(T·S·D)",
        "O((T + S)·D)",
        True,
        "arXiv:2205.14135, arXiv:2307.08691",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "unordered", "decode", "truncate"}),
        family="exact",
        state="2·S·G·D",
        use="To read how fused kernels work, to check them, or to train on long text in little memory.",
    )

    def __init__(self, order: str = "queries", query_block: int = 128, key_block: int = 256) -> None:
        super().__init__()
        if order not in ("queries", "keys"):
            raise UsageError(f"order is {order!r}; give the outer loop, 'queries' or 'keys'")
        self.order = order
        self.query_block = check_size("query_block", query_block)
        self.key_block = check_size("key_block", key_block)

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        if torch.is_autocast_enabled(q.device.type):
            narrow = torch.get_autocast_dtype(q.device.type)
            q, k, v = q.to(narrow), k.to(narrow), v.to(narrow)
        k, v, broken = mask_keys(k, keep), mask_keys(v, keep), None
        if causal and q.shape[1] != 1 and not all_finite(k, v):
            k, v, broken = zero_nonfinite(k, v)
        each = q.shape[2] // k.shape[2]
        cut = (each, self.query_block, self.key_block, int(causal), int(self.order == "keys"))
        look = _forward_op if torch.compiler.is_compiling() else FlashFunction.apply
        out, _ = look(*_group_heads(q, k, v, keep), cut)
        out = rearrange(out, "(b g) (t each) d -> b t (g each) d", g=k.shape[2], each=each)
        return out if broken is None else propagate_nan(out, broken)

    @torch.no_grad()
    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return what every query knows after each block of keys, the log of its sum, the answer.

        The order of the tiles does not matter to a query: it meets the blocks of keys from first to last.
        Axes are ``tile B H T``, the first tile being "nothing seen yet", and ``tile B T H D`` for values.
        """
        self.check(q, k, v, causal=causal, keep=keep)
        folded = _group_heads(q, mask_keys(k, keep), mask_keys(v, keep), keep)
        each = q.shape[2] // k.shape[2]
        # One block of queries: a tile is then a block of keys, and a step of everybody.
        tiling = FlashTiling(each, max(1, q.shape[1]), self.key_block, causal, keys_outer=True)
        steps = [
            OnlineSoftmax(*(x.clone() for x in known))
            for known in iter_online_softmax(*_scale_inputs(*folded[:3]), folded[3], tiling)
        ]
        maximum, total, mixed = (torch.stack(x) for x in zip(*steps, strict=True))
        shrink = torch.cat([torch.zeros_like(maximum[:1]), (maximum[:-1] - maximum[1:]).exp()])
        shrink = shrink.masked_fill(maximum == float("-inf"), 0.0)
        _, log = finalize(steps[-1])
        axes = {"g": k.shape[2], "each": each}
        told = {
            name: rearrange(x, "tile (b g) (t each) 1 -> tile b (g each) t", **axes)
            for name, x in {"running_maximum": maximum, "rescaling": shrink, "running_sum": total}.items()
        }
        told["running_output"] = rearrange(mixed, "tile (b g) (t each) d -> tile b t (g each) d", **axes)
        told["logsumexp"] = rearrange(log, "(b g) (t each) 1 -> b (g each) t", **axes)
        return told | {"output": self(q, k, v, causal=causal, keep=keep)}


class FlashFunction(torch.autograd.Function):
    """The formula in tiles, and its backward pass in tiles; saves inputs, answer and L, never weights."""

    @staticmethod
    def forward(
        q: QueryRows, k: KeyRows, v: KeyRows, keep: KeepRows | None, cut: TileArgs
    ) -> tuple[QueryRows, RowScalar]:
        """Return the answer and L."""
        return _forward(q, k, v, keep, cut)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[QueryRows, RowScalar]) -> None:
        """Keep what the tiles will be made from again."""
        *tensors, ctx.cut = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, *output)

    @staticmethod
    def backward(ctx: Any, grad: QueryRows, _: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one gradient per output
        """Return the gradients of q, k and v."""
        if torch.is_grad_enabled():
            raise UsageError("flash has no second derivative (create_graph=True); naive has one")
        *inputs, keep, out, log = ctx.saved_tensors
        return *_backward(grad, inputs, keep, out, log, ctx.cut), None, None


def _forward(
    q: QueryRows, k: KeyRows, v: KeyRows, keep: KeepRows | None, cut: TileArgs
) -> tuple[QueryRows, RowScalar]:
    """Run over the tiles to the end."""
    with torch.autocast(q.device.type, enabled=False):
        # What is known is one set of tensors, updated by every tile: the last is all there is.
        *_, known = iter_online_softmax(*_scale_inputs(q, k, v), keep, _build_grid(cut))
        out, log = finalize(known)
        return out.to(q.dtype), log


def _backward(
    grad: QueryRows,
    inputs: list[Tensor],
    keep: KeepRows | None,
    out: QueryRows,
    log: RowScalar,
    cut: TileArgs,
) -> tuple[QueryRows, KeyRows, KeyRows]:
    """Make each tile's weights again and pass the gradient through them."""
    with torch.autocast(grad.device.type, enabled=False):
        q, k, v = _scale_inputs(*inputs)
        grad, delta = _upcast(grad), (_upcast(grad) * _upcast(out)).sum(-1, keepdim=True)
        dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
        for tile in _build_grid(cut)._replace(keys_outer=True).iter_tiles(q, k):
            rows, keys = tile.rows, tile.keys
            weights = tile_scores(q, k, keep, tile).sub_(log[:, rows]).exp_()
            dv[:, keys].baddbmm_(weights.mT, grad[:, rows])
            change = torch.bmm(grad[:, rows], v[:, keys].mT).sub_(delta[:, rows]).mul_(weights)
            dq[:, rows].baddbmm_(change, k[:, keys])
            dk[:, keys].baddbmm_(change.mT, q[:, rows])
        dq *= q.shape[-1] ** -0.5
        dq, dk, dv = (x.to(like.dtype) for x, like in zip((dq, dk, dv), inputs, strict=True))
        return dq, dk, dv


def _build_grid(cut: TileArgs) -> FlashTiling:
    each, query_block, key_block, causal, keys_outer = cut
    return FlashTiling(each, query_block, key_block, bool(causal), bool(keys_outer))


def _group_heads(
    q: Queries, k: Keys, v: Keys, keep: Keep | None
) -> tuple[QueryRows, KeyRows, KeyRows, KeepRows | None]:
    """Order rows and keys by key head, see ``_tiles``; copied only where a view will not do."""
    groups = k.shape[2]
    q = rearrange(q, "b t (g each) d -> (b g) (t each) d", g=groups)
    k, v = (rearrange(x, "b s g d -> (b g) s d") for x in (k, v))
    return q, k, v, None if keep is None else repeat(keep, "b s -> (b g) 1 s", g=groups)


def _scale_inputs(q: QueryRows, k: KeyRows, v: KeyRows) -> tuple[QueryRows, KeyRows, KeyRows]:
    """Return them in float32 at least, to sum in, and the queries divided by the root of their width."""
    return _upcast(q) * q.shape[-1] ** -0.5, _upcast(k), _upcast(v)


def _upcast(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


# A compiler would unroll the loop over tiles for one length; for it each pass is one operation.
_forward_op = torch.library.custom_op(
    "nhin::flash",
    _forward,
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor? keep, SymInt[] cut) -> (Tensor, Tensor)",
)
_backward_op = torch.library.custom_op(
    "nhin::flash_backward",
    _backward,
    mutates_args=(),
    schema="(Tensor grad, Tensor[] inputs, Tensor? keep, Tensor out, Tensor log, SymInt[] cut)"
    " -> (Tensor, Tensor, Tensor)",
)


@_forward_op.register_fake
def _(
    q: QueryRows, k: KeyRows, v: KeyRows, keep: KeepRows | None, cut: TileArgs
) -> tuple[QueryRows, RowScalar]:
    return torch.empty_like(q), _upcast(q.new_empty(*q.shape[:2], 1))


@_backward_op.register_fake
def _(grad: QueryRows, inputs: list[Tensor], *rest: object) -> tuple[QueryRows, KeyRows, KeyRows]:
    q, k, v = inputs
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _op_backward(ctx: Any, grad: QueryRows, _: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, keep, out, log = ctx.saved_tensors
    return *_backward_op(grad, inputs, keep, out, log, ctx.cut), None, None


_forward_op.register_autograd(_op_backward, setup_context=FlashFunction.setup_context)
