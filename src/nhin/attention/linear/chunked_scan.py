r"""Running sums of keys and values, chunk by chunk: what makes causal attention linear in length.

.. math::
    o_t = \frac{\phi(q_t)^\top S_t}{\phi(q_t)^\top Z_t}, \qquad
    S_t = \sum_{s \le t} \phi(k_s) v_s^\top, \qquad Z_t = \sum_{s \le t} \phi(k_s)

Inside a chunk the products of features are formed and masked; earlier chunks are one carried state. The
backward pass forms them again, and carries the sums over later queries the other way:
:math:`R_s = \sum_{t \ge s} \phi(q_t) \bar g_t^\top`. Memory is linear in length.

Exponential features are stored relative to the largest logarithm so far, channel by channel: this cancels
between numerator and denominator, cannot overflow, and depends on no later chunk. Within a chunk it depends
on later keys, against which earlier ones may underflow: a chunk in which a channel rises that steeply is
halved, to one position at worst.

Forward and backward are custom operators, so that a compiler neither unrolls nor specializes their loops, and
does not see that they branch on values.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

CHUNK = 128
FLOOR = -1e30  # below any logarithm, and finite, so that differences are not NaN
MAX_RISE = 60.0  # exp(-60) is far from underflow in float32

relu_backward = torch.ops.aten.threshold_backward  # what autograd itself calls, in one pass

QueryInputs = Float[Tensor, "B T H M"]
KeyInputs = Float[Tensor, "B S G M"]
Values = Float[Tensor, "B S G D"]
ChunkRows = Float[Tensor, "groups _ _"]  # of a chunk; groups are key heads of all rows of the batch
Sums = Float[Tensor, "groups M D"]
Mass = Float[Tensor, "groups M"]
ScanState = tuple[Sums, Mass, Mass]  # sums, masses, and the largest logarithm of each channel


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums over many keys: half precision would stop growing at a few hundred."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def product_dtype(dtype: torch.dtype, device: str) -> torch.dtype:
    """Return the dtype of the products within a chunk: on a CPU never half precision.

    A chunk is cast while it is in the processor's cache. Measured at 8,192 positions (docs/bench.md): as fast
    as bfloat16 where the processor has it in hardware (AMX), in 0.4 to 0.12 of the time where it has not.
    """
    return accumulation_dtype(dtype) if device == "cpu" else dtype


def features(feature_map: str, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return positive features of queries or keys; those of minus infinity are zeros.

    ``elu`` is elu(x) + 1 without the cancellation that loses small features.
    """
    if feature_map == "relu":
        return x.relu()
    small = x.clamp(max=0).exp_()
    # In place where autograd does not keep the exponentials: one tensor fewer for each chunk.
    return small + x.relu() if x.requires_grad else small.add_(x.relu())


def round_to_power_of_two(logs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Round logarithms up to those of powers of two: dividing by such a power is exact.

    Otherwise a later key of the same chunk would change how earlier outputs are rounded.
    """
    # At the floor even neighboring numbers lie far apart.
    return torch.where(logs > FLOOR / 2, (logs / math.log(2)).ceil() * math.log(2), logs)


def features_backward(feature_map: str, grad: ChunkRows, x: ChunkRows, mapped: ChunkRows) -> ChunkRows:
    """Return the gradient of what ``features`` maps; ``grad``, that of its outputs, may be overwritten."""
    if feature_map == "relu":
        return relu_backward(grad, x, 0)
    return grad.mul_(mapped if feature_map == "exp" else mapped.clamp(max=1))


class _Chunk(NamedTuple):
    """One chunk: queries and keys before and after the feature map, and values."""

    raw_q: ChunkRows
    raw_k: ChunkRows
    q: ChunkRows
    k: ChunkRows
    v: ChunkRows


class _ChunkLoop:
    """The tensors of a call by group, divided into chunks."""

    def __init__(self, q: QueryInputs, k: KeyInputs, v: Values, feature_map: str, chunk: int) -> None:
        self.group_size = q.shape[2] // k.shape[2]
        self.q = self.by_head(q)
        self.k, self.v = (rearrange(x, "b s g d -> b g s d") for x in (k, v))
        self.feature_map, self.dtype = feature_map, product_dtype(v.dtype, v.device.type)
        self.spans = [slice(a, min(a + chunk, k.shape[1])) for a in range(0, k.shape[1], chunk)]

    def by_head(self, x: QueryInputs) -> Float[Tensor, "B G each T M"]:
        """Return a view by key head and query head of its group, to read and to write."""
        return rearrange(x, "b t (g each) m -> b g each t m", each=self.group_size)

    def query_rows(self, x: Float[Tensor, "B G each T M"], span: slice) -> ChunkRows:
        """Return the chunk of a tensor of the queries, the heads of a group one after the other."""
        return rearrange(self._cast(x[:, :, :, span]), "b g each t m -> (b g) (each t) m")

    def write_rows(self, x: Float[Tensor, "B G each T M"], span: slice, rows: ChunkRows) -> None:
        """Write what ``query_rows`` reads."""
        b, g = x.shape[:2]
        x[:, :, :, span] = rearrange(rows, "(b g) (each t) m -> b g each t m", b=b, g=g, each=self.group_size)

    def key_rows(self, x: Float[Tensor, "B G S D"], span: slice) -> ChunkRows:
        """Return the chunk of a tensor of the keys."""
        return rearrange(self._cast(x[:, :, span]), "b g s d -> (b g) s d")

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(torch.promote_types(x.dtype, self.dtype))

    def find_steep(self, top: Mass) -> tuple[Bool[Tensor, " chunks"], list[Mass]]:
        """Return in which chunks a channel rises too far, and the largest logarithms before each."""
        tops, rises = [], [top.new_empty(0)]
        for span in self.spans if self.feature_map == "exp" and top.numel() else ():
            tops.append(top)
            rise, top = self._measure_rise(span, top)
            rises.append(rise[None])
        return torch.cat(rises) > MAX_RISE, tops

    def divide(self, steep: Bool[Tensor, " chunks"], tops: list[Mass]) -> list[list[slice]]:
        """Return the parts of each chunk: one where no channel rises too far."""
        if not bool(steep.any()):
            return [[span] for span in self.spans]
        chunks = zip(self.spans, tops, steep.tolist(), strict=True)
        return [self._halve(span, top) if too_far else [span] for span, top, too_far in chunks]

    def _halve(self, span: slice, top: Mass) -> list[slice]:
        """Return parts within which no channel rises too far."""
        rise, _ = self._measure_rise(span, top)
        if span.stop - span.start == 1 or rise <= MAX_RISE:
            return [span]
        middle = (span.start + span.stop) // 2
        first, second = slice(span.start, middle), slice(middle, span.stop)
        return self._halve(first, top) + self._halve(second, self._measure_rise(first, top)[1])

    def _measure_rise(self, span: slice, top: Mass) -> tuple[Float[Tensor, ""], Mass]:
        """Return how far a channel rises within a span at most, and the largest logarithms so far."""
        k = self.key_rows(self.k, span)
        least, most = k.masked_fill(k == float("-inf"), float("inf")).amin(1), k.amax(1)
        return (most - torch.maximum(top, least)).amax(), torch.maximum(top, most)

    def raise_top(self, span: slice, s: Sums, z: Mass, top: Mass) -> Mass:
        """Return the largest logarithms once a span is added, and rescale the sums to them in place."""
        if self.feature_map != "exp":
            return top
        old, top = top, torch.maximum(top, round_to_power_of_two(self.key_rows(self.k, span).amax(1)))
        _shrink(s, z, old, top)
        return top

    def states_within(self, parts: list[slice], s: Sums, z: Mass, top: Mass) -> list[tuple[slice, ScanState]]:
        """Return the parts of a chunk, each with the sums before it, from those before the first."""
        states = [(parts[0], (s, z, top))]
        for before, part in pairwise(parts):
            c, s, z = self.load_chunk(before, top), s.clone(), z.clone()
            _accumulate(s, z, c)
            top = self.raise_top(part, s, z, top)
            states.append((part, (s, z, top)))
        return states

    def load_chunk(self, span: slice, top: Mass) -> _Chunk:
        """Map the features of a chunk; exponentials relative to ``top``."""
        q, k = self.query_rows(self.q, span), self.key_rows(self.k, span)
        if self.feature_map == "exp":
            lifted = q + top[:, None]
            fq = (lifted - round_to_power_of_two(lifted.amax(-1, keepdim=True))).exp_()
            fk = (k - top[:, None]).exp_()
        else:
            fq, fk = features(self.feature_map, q), features(self.feature_map, k)
        return _Chunk(q, k, fq.to(self.dtype), fk.to(self.dtype), self.key_rows(self.v, span))

    def masked_products(
        self, x: ChunkRows, y: ChunkRows, add: Float[Tensor, "groups rows 1"] | None = None
    ) -> ChunkRows:
        """Return the products of every query with the visible keys of its chunk, zeros elsewhere."""
        y = y.transpose(1, 2)
        products = torch.bmm(x, y) if add is None else torch.baddbmm(add, x, y)
        rearrange(products, "bg (each t) s -> bg each t s", each=self.group_size).tril_()
        return products


FiveTensors = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
SixTensors = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]

# The types of the operators are plain tensors: their schemas are read from the annotations.


def _forward(
    q: Tensor, k: Tensor, v: Tensor, start: list[Tensor], feature_map: str, chunk: int, save_states: bool
) -> SixTensors:
    """Answer every position and return the state after the last, or (``save_states``) at every chunk.

    Returns:
        Outputs; their denominators, with ``save_states``; sums, masses and tops; which chunks are steep. With
        ``save_states`` sums, masses and tops are those before each chunk and then the last ones; tops begin
        with the start.
    """
    loop = _ChunkLoop(q, k, v, feature_map, chunk)
    s, z, top = start[0].clone(), start[1].clone(), start[2]
    out = torch.empty(*q.shape[:3], v.shape[-1], dtype=v.dtype, device=v.device)
    mass = torch.empty(*q.shape[:3], int(save_states), dtype=s.dtype, device=v.device)
    outs, masses = loop.by_head(out), loop.by_head(mass)
    states: tuple[list[Tensor], ...] = ([], [], [top])
    steep, tops = loop.find_steep(top)
    parts = [(n == 0, span) for chunk in loop.divide(steep, tops) for n, span in enumerate(chunk)]
    for begins_chunk, span in parts:
        top = loop.raise_top(span, s, z, top)
        if save_states and begins_chunk:
            for saved, x in zip(states, (s.clone(), z.clone(), top), strict=True):
                saved.append(x)
        c = loop.load_chunk(span, top)
        near = loop.masked_products(c.q, c.k)
        above = torch.bmm(near, c.v).baddbmm_(c.q, s.to(c.q.dtype))
        below = near.sum(-1, dtype=z.dtype, keepdim=True) + torch.bmm(c.q, z[..., None].to(c.q.dtype))
        if save_states:
            loop.write_rows(masses, span, below)
        loop.write_rows(outs, span, above.div_(below.masked_fill_(below == 0, 1)))
        _accumulate(s, z, c)
    if not save_states:
        return out, mass, s[None], z[None], top.clone()[None], steep
    s, z, top = (torch.stack([*saved, x]) for saved, x in zip(states, (s, z, top), strict=True))
    return out, mass, s, z, top, steep


def _shrink(s: Sums, z: Mass, old: Mass, new: Mass) -> None:
    """Make sums relative to other logarithms, in place."""
    factor = (old - new).exp_()
    s *= factor[..., None]
    z *= factor


def _accumulate(s: Sums, z: Mass, c: _Chunk) -> None:
    """Add the keys and values of a chunk to the sums."""
    _add_products(s, c.k, c.v)
    z += c.k.sum(1, dtype=z.dtype)


def _add_products(sums: Sums, left: ChunkRows, right: ChunkRows) -> None:
    """Add the products of two chunks to sums, whose dtype may be wider."""
    if sums.dtype == right.dtype:
        sums.baddbmm_(left.transpose(1, 2), right)
    else:
        sums += torch.bmm(left.transpose(1, 2), right)


def _backward(grad: Tensor, saved_tensors: list[Tensor], feature_map: str, chunk: int) -> FiveTensors:
    """Return the gradients of queries, keys, values, and of the sums and masses of the start."""
    q, k, v, out, mass, *states, steep = saved_tensors
    loop = _ChunkLoop(q, k, v, feature_map, chunk)
    dtype = loop.dtype
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    dqs, outs, gs, masses = (loop.by_head(x) for x in (dq, out, grad, mass))
    r, y = torch.zeros_like(states[0][0]), torch.zeros_like(states[1][0])
    tops = loop.find_steep(states[2][0])[1] if bool(steep.any()) else []
    chunks = enumerate(loop.divide(steep, tops))
    begun = ((parts, states[0][n], states[1][n], states[2][n + 1]) for n, parts in reversed(list(chunks)))
    later = None
    for span, (s, z, top) in (part for chunk in begun for part in reversed(loop.states_within(*chunk))):
        if feature_map == "exp" and later is not None:
            _shrink(r, y, top, later)
        later, s, z = top, s.to(dtype), z.to(dtype)
        c = loop.load_chunk(span, top)
        below = loop.query_rows(masses, span)
        above = loop.query_rows(gs, span) / below.masked_fill(below == 0, float("inf"))
        down = (above * loop.query_rows(outs, span)).sum(-1, keepdim=True).neg_().to(dtype)
        above = above.to(dtype)
        near, change = loop.masked_products(c.q, c.k), loop.masked_products(above, c.v, down)
        gq = torch.bmm(change, c.k).baddbmm_(above, s.transpose(1, 2)).add_(down * z[:, None])
        loop.write_rows(dqs, span, features_backward(feature_map, gq, c.raw_q, c.q))
        gk = torch.bmm(change.transpose(1, 2), c.q).baddbmm_(c.v, r.to(dtype).transpose(1, 2))
        gk = features_backward(feature_map, gk.add_(y[:, None].to(dtype)), c.raw_k, c.k)
        gv = torch.bmm(near.transpose(1, 2), above).baddbmm_(c.k, r.to(dtype))
        for x, part in ((dk, gk), (dv, gv)):
            x[:, span] = rearrange(part, "(b g) s d -> b s g d", g=k.shape[2])
        _add_products(r, c.q, above)
        y += torch.bmm(c.q.transpose(1, 2), down)[..., 0]
    if feature_map == "exp" and later is not None:
        _shrink(r, y, states[2][0], later)
    return dq, dk, dv, r, y


def _forward_shapes(
    q: Tensor, k: Tensor, v: Tensor, start: list[Tensor], feature_map: str, chunk: int, save_states: bool
) -> SixTensors:
    count = (k.shape[1] + chunk - 1) // chunk + 1 if save_states else 1
    s, z, top = (x.new_empty(count + (save_states and n == 2), *x.shape) for n, x in enumerate(start))
    out, mass = v.new_empty(*q.shape[:3], v.shape[-1]), start[0].new_empty(*q.shape[:3], int(save_states))
    steep = k.new_empty((k.shape[1] + chunk - 1) // chunk * (feature_map == "exp"), dtype=torch.bool)
    return out, mass, s, z, top, steep


def _backward_shapes(grad: Tensor, saved_tensors: list[Tensor], feature_map: str, chunk: int) -> FiveTensors:
    dq, dk, dv = (x.new_empty(x.shape) for x in saved_tensors[:3])
    r, y = (x.new_empty(x.shape[1:]) for x in saved_tensors[5:7])
    return dq, dk, dv, r, y


def _setup_context(ctx, inputs, output) -> None:
    q, k, v, _, ctx.feature_map, ctx.chunk, _ = inputs
    ctx.save_for_backward(q, k, v, *output)


def _op_backward(ctx, g, *_):
    q, k, v, r, y = _backward_op(g, list(ctx.saved_tensors), ctx.feature_map, ctx.chunk)
    return q, k, v, [r, y, None], None, None, None


_forward_op = torch.library.custom_op("nhin::running", _forward, mutates_args=())
_backward_op = torch.library.custom_op("nhin::running_backward", _backward, mutates_args=())
_forward_op.register_fake(_forward_shapes)
_backward_op.register_fake(_backward_shapes)
_forward_op.register_autograd(_op_backward, setup_context=_setup_context)


def scan(
    q: QueryInputs, k: KeyInputs, v: Values, start: ScanState, feature_map: str, chunk: int = CHUNK
) -> tuple[Float[Tensor, "B T H D"], ScanState]:
    """Answer as many queries as keys, continuing from ``start``.

    Args:
        q: Queries, or the logarithms of their features when ``feature_map`` is exp.
        k: Keys likewise; minus infinity where hidden.
        v: Values; finite.
        start: The state after earlier keys.
        feature_map: elu, relu or exp.
        chunk: Positions in a chunk.

    Returns:
        Outputs, zeros where no key is visible, and the state after the last key.
    """
    save_states = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, *start))
    out, _, s, z, top, _ = _forward_op(q, k, v, list(start), feature_map, chunk, save_states)
    return out, (s[-1], z[-1], top[-1])
