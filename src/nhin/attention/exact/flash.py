r"""FlashAttention: exact softmax attention, one tile of scores at a time.

.. math::
    m_i^{(j)} &= \max\left(m_i^{(j-1)}, \max_s S_{is}^{(j)}\right), \qquad
    S^{(j)} = Q_i K_j^\top / \sqrt{D}

    \ell_i^{(j)} &= e^{m_i^{(j-1)} - m_i^{(j)}}\, \ell_i^{(j-1)} + \sum_s e^{S_{is}^{(j)} - m_i^{(j)}}

    O_i^{(j)} &= e^{m_i^{(j-1)} - m_i^{(j)}}\, O_i^{(j-1)} + e^{S^{(j)} - m_i^{(j)}} V_j

    O_i &= O_i^{(J)} / \ell_i^{(J)}, \qquad L_i = m_i^{(J)} + \log \ell_i^{(J)}

The table of scores is never stored. It is divided into tiles; each query keeps its largest score so far, the
sum of its weights against that maximum, and the weighted values; when a later tile has a larger maximum, the
earlier sums shrink by the difference. The backward pass recomputes each tile from the queries, the keys and
the saved :math:`L`, as :math:`P = e^{S - L}`, and with :math:`\delta_i = \sum_d dO_{id} O_{id}`

.. math::
    dV_j = P^\top dO, \qquad dS = P \circ (dO\, V_j^\top - \delta), \qquad
    dQ_i = \tfrac{1}{\sqrt{D}} dS\, K_j, \qquad dK_j = \tfrac{1}{\sqrt{D}} dS^\top Q_i .

``order="queries"`` finishes a block of queries before the next (FlashAttention-2); ``order="keys"`` reads
each block of keys once, for every query (FlashAttention-1). The output is the same. It is for reading, for
checking kernels, and for training in little memory where there is no kernel; else ``softmax`` is faster.

Causal:  tiles whose keys are all later than their queries are left out, which halves the work.
Cost:    time O(T S D); memory O((T + S) D), forward and backward, whatever the lengths.
Source:  Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4;
         Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
Differs: both orders divide by the sum once, at the end, and save L, as FlashAttention-2 does; the backward
         pass always loops over keys outside, as both papers do; no second derivative.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries
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
from nhin.attention.masked_softmax import (
    autocast_inputs,
    is_transformed,
    mask_keys,
    propagate_nan,
    shield_inputs,
    upcast,
)
from nhin.attention.softmax_base import SoftmaxAttention, softmax_facts
from nhin.errors import UsageError
from nhin.ranges import check_size

TileArgs = Sequence[int]  # a FlashTiling, as a compiler passes it


class Flash(SoftmaxAttention):
    """Exact attention in tiles: nothing that grows like T x S is ever stored.

    Args:
        order: The outer loop: over blocks of "queries" or of "keys".
        query_block: Queries in one tile.
        key_block: Keys in one tile.
    """

    facts = softmax_facts(
        "flash",
        "FlashAttention in tiles",
        memory="O((T + S)·D)",
        exact=True,
        source="arXiv:2205.14135, arXiv:2307.08691",
        family="exact",
        use="To read how fused kernels work, to check them, or to train on long text in little memory.",
    )

    def __init__(self, order: str = "queries", query_block: int = 128, key_block: int = 256) -> None:
        super().__init__()
        if order not in ("queries", "keys"):
            raise UsageError(f"order is {order!r}; give the outer loop, 'queries' or 'keys'")
        self.order = order
        self.query_block = check_size("query_block", query_block)
        self.key_block = check_size("key_block", key_block)

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        if is_transformed():
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        q, k, v = autocast_inputs(q, k, v)
        k, v, nonfinite = shield_inputs(k, v, keep, nonfinite=causal and q.shape[1] != 1)
        group_size = q.shape[2] // k.shape[2]
        cut = (group_size, self.query_block, self.key_block, int(causal), int(self.order == "keys"))
        attend = _forward_op if torch.compiler.is_compiling() else FlashFunction.apply
        out, _ = attend(*_group_heads(q, k, v, keep), cut)
        out = rearrange(out, "(b g) (t n) d -> b t (g n) d", g=k.shape[2], n=group_size)
        return propagate_nan(out, nonfinite)

    @torch.no_grad()
    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return the running values after each block of keys, the log of the sum, and the output."""
        return super().explain(q, k, v, causal=causal, keep=keep)

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Axes are ``tile B H T``, one more than there are tiles, and ``tile B T H D`` for values.

        In any order of the tiles, a query meets the blocks of keys from first to last.
        """
        folded = _group_heads(q, mask_keys(k, keep), mask_keys(v, keep), keep)
        n = q.shape[2] // k.shape[2]
        # One block of queries: a tile is then a block of keys, for all queries.
        grid = FlashTiling(n, max(1, q.shape[1]), self.key_block, causal, keys_outer=True)
        states = [
            OnlineSoftmax(*(x.clone() for x in state))
            for state in iter_online_softmax(*_scale_inputs(*folded[:3]), folded[3], grid)
        ]
        maximum, total, mixed = (torch.stack(x) for x in zip(*states, strict=True))
        shrink = torch.cat([torch.zeros_like(maximum[:1]), (maximum[:-1] - maximum[1:]).exp()])
        shrink = shrink.masked_fill(maximum == float("-inf"), 0.0)
        _, log = finalize(states[-1])
        axes = {"g": k.shape[2], "n": n}
        steps = {
            name: rearrange(x, "tile (b g) (t n) 1 -> tile b (g n) t", **axes)
            for name, x in {"running_maximum": maximum, "rescaling": shrink, "running_sum": total}.items()
        }
        steps["running_output"] = rearrange(mixed, "tile (b g) (t n) d -> tile b t (g n) d", **axes)
        steps["logsumexp"] = rearrange(log, "(b g) (t n) 1 -> b (g n) t", **axes)
        return steps


class FlashFunction(torch.autograd.Function):
    """The formula in tiles, and its backward pass in tiles; saves inputs, output and L, never weights."""

    @staticmethod
    def forward(
        q: QueryRows, k: KeyRows, v: KeyRows, keep: KeepRows | None, cut: TileArgs
    ) -> tuple[QueryRows, RowScalar]:
        """Return the output and L."""
        return _forward(q, k, v, keep, cut)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[QueryRows, RowScalar]) -> None:
        """Save what the tiles are recomputed from."""
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
    """Return the output and L after all tiles."""
    with torch.autocast(q.device.type, enabled=False):
        # Every tile updates the same tensors: the last state is the only one.
        *_, state = iter_online_softmax(*_scale_inputs(q, k, v), keep, _build_grid(cut))
        out, log = finalize(state)
        return out.to(q.dtype), log


def _backward(
    grad: QueryRows,
    inputs: list[Tensor],
    keep: KeepRows | None,
    out: QueryRows,
    log: RowScalar,
    cut: TileArgs,
) -> tuple[QueryRows, KeyRows, KeyRows]:
    """Recompute each tile's weights and pass the gradient through them."""
    with torch.autocast(grad.device.type, enabled=False):
        q, k, v = _scale_inputs(*inputs)
        grad, delta = upcast(grad), (upcast(grad) * upcast(out)).sum(-1, keepdim=True)
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
    group_size, query_block, key_block, causal, keys_outer = cut
    return FlashTiling(group_size, query_block, key_block, bool(causal), bool(keys_outer))


def _group_heads(
    q: Queries, k: Keys, v: Keys, keep: Keep | None
) -> tuple[QueryRows, KeyRows, KeyRows, KeepRows | None]:
    """Order rows and keys by key head, see ``online_softmax``; copied only where a view is impossible."""
    groups = k.shape[2]
    q = rearrange(q, "b t (g n) d -> (b g) (t n) d", g=groups)
    k, v = (rearrange(x, "b s g d -> (b g) s d") for x in (k, v))
    return q, k, v, None if keep is None else repeat(keep, "b s -> (b g) 1 s", g=groups)


def _scale_inputs(q: QueryRows, k: KeyRows, v: KeyRows) -> tuple[QueryRows, KeyRows, KeyRows]:
    """Return them in float32 at least, and the queries divided by the root of their width."""
    return upcast(q) * q.shape[-1] ** -0.5, upcast(k), upcast(v)


# A compiler would unroll the loop over tiles for one length; custom operators prevent it.
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
    return torch.empty_like(q), upcast(q.new_empty(*q.shape[:2], 1))


@_backward_op.register_fake
def _(grad: QueryRows, inputs: list[Tensor], *rest: object) -> tuple[QueryRows, KeyRows, KeyRows]:
    q, k, v = inputs
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _op_backward(ctx: Any, grad: QueryRows, _: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, keep, out, log = ctx.saved_tensors
    return *_backward_op(grad, inputs, keep, out, log, ctx.cut), None, None


_forward_op.register_autograd(_op_backward, setup_context=FlashFunction.setup_context)
