r"""FlashAttention and sliding-window attention as Triton kernels: one program per block of queries or keys.

The forward pass keeps, for each query of a block, its largest score so far, the sum of its weights and the
weighted values, and saves the logarithm L of that sum; scores are taken to base 2. The backward pass
recomputes the weights as :math:`P = 2^{S - L}`: one kernel for dK and dV, which loops over queries, one for
dQ, which loops over keys. Nothing is added atomically, so gradients are the same in every run.

Tensors are contiguous, ``B T H D`` and ``B S G D``; L and delta are ``B H T`` in float32. A query without
visible keys has L = infinity: its weights are zeros.

Source:  Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
Differs: queries are aligned with the end of the keys; a window skips the blocks outside it.
"""
# A kernel takes tensors and sizes one by one, and annotates no shapes: Triton compiles the source itself.
# ruff: noqa: PLR0913

import triton  # pyright: ignore[reportMissingImports] # extra gpu
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def _load_rows(ptr, rows, count, stride, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Load rows of one head, zeros beyond the last row and the last channel."""
    d = tl.arange(0, BLOCK_D)
    inside = (rows[:, None] < count) & (d[None, :] < D)
    return tl.load(ptr + rows[:, None] * stride + d[None, :], mask=inside, other=0.0)


@triton.jit
def _store_rows(ptr, x, rows, count, stride, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Store rows of one head."""
    d = tl.arange(0, BLOCK_D)
    inside = (rows[:, None] < count) & (d[None, :] < D)
    tl.store(ptr + rows[:, None] * stride + d[None, :], x.to(ptr.dtype.element_ty), mask=inside)


@triton.jit
def _product(x, y):
    """Multiply two blocks and sum in float32; float32 is not shortened to TF32."""
    return tl.dot(x, y, input_precision="ieee")


@triton.jit
def _is_visible(rows, cols, T, S, CAUSAL: tl.constexpr, WINDOW: tl.constexpr):
    """Return which keys (axis 1) each query (axis 0) attends to."""
    gap = rows[:, None] + (S - T) - cols[None, :]
    visible = (cols[None, :] < S) & (rows[:, None] < T)
    if CAUSAL:
        visible = visible & (gap >= 0)
    if WINDOW > 0:
        visible = visible & (gap < WINDOW) & (gap > -WINDOW)
    return visible


@triton.jit
def _key_range(start, T, S, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr):
    """Return where the keys begin and end that a block of queries may see; never negative."""
    first = start + S - T
    low, high = 0, S
    if CAUSAL:
        high = tl.minimum(S, first + BLOCK_M)
    if WINDOW > 0:
        low = tl.maximum(0, first - WINDOW + 1)
        high = tl.minimum(high, first + BLOCK_M + WINDOW - 1)
    return low, tl.maximum(high, 0)


@triton.jit
def _key_range_seen_by_all(start, T, S, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr):
    """Return where the keys begin and end that every query of a block sees."""
    first = start + S - T
    low, high = 0, S
    if CAUSAL:
        high = tl.minimum(S, first + 1)
    if WINDOW > 0:
        low = tl.maximum(0, first + BLOCK_M - WINDOW)
        high = tl.minimum(high, first + WINDOW)
    return low, tl.maximum(high, 0)


@triton.jit
def _attend_blocks(
    state, q, k_ptr, v_ptr, rows, begin, end, numbers,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    KEY_STRIDE: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Add blocks of keys to what is known of the queries: maximum, sum and weighted values."""
    top, total, out = state
    T, S, scale = numbers
    for start in range(begin, end, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)
        k = _load_rows(k_ptr, cols, S, KEY_STRIDE, D, BLOCK_D)
        scores = _product(q, tl.trans(k)) * scale
        if MASKED:
            scores = tl.where(_is_visible(rows, cols, T, S, CAUSAL, WINDOW), scores, float("-inf"))
        new = tl.maximum(top, tl.max(scores, 1))
        # A query that has seen nothing has no maximum: against zero its weights are 2^-inf = 0.
        against = tl.where(new == float("-inf"), 0.0, new)
        weights = tl.exp2(scores - against[:, None])
        shrink = tl.exp2(top - against)
        v = _load_rows(v_ptr, cols, S, KEY_STRIDE, D, BLOCK_D)
        total = total * shrink + tl.sum(weights, 1)
        out = out * shrink[:, None] + _product(weights.to(v.dtype), v)
        top = new
    return top, total, out


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, log_ptr, T, S, scale,
    H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Answer one block of queries of one head; ``scale`` includes log2(e)."""
    start, b, h = tl.program_id(0) * BLOCK_M, (tl.program_id(1) // H).to(tl.int64), tl.program_id(1) % H
    g = h // (H // G)
    rows = start + tl.arange(0, BLOCK_M)
    q_at, key_at = (b * T * H + h) * D, (b * S * G + g) * D
    q = _load_rows(q_ptr + q_at, rows, T, H * D, D, BLOCK_D)
    low, high = _key_range(start, T, S, CAUSAL, WINDOW, BLOCK_M)
    clear, edge = _key_range_seen_by_all(start, T, S, CAUSAL, WINDOW, BLOCK_M)
    # Whole blocks without a mask in the middle, masked ones before and after.
    low = low // BLOCK_N * BLOCK_N
    clear = tl.minimum(tl.maximum((clear + BLOCK_N - 1) // BLOCK_N * BLOCK_N, low), tl.maximum(high, low))
    edge = tl.maximum(edge // BLOCK_N * BLOCK_N, clear)
    clear = tl.where(edge > clear, clear, high)
    edge = tl.where(edge > clear, edge, high)
    state = (
        tl.full([BLOCK_M], float("-inf"), tl.float32),
        tl.zeros([BLOCK_M], tl.float32),
        tl.zeros([BLOCK_M, BLOCK_D], tl.float32),
    )
    k_ptr, v_ptr = k_ptr + key_at, v_ptr + key_at
    numbers = (T, S, scale)
    state = _attend_blocks(
        state, q, k_ptr, v_ptr, rows, low, clear, numbers, True, CAUSAL, WINDOW, G * D, D, BLOCK_D, BLOCK_N
    )
    state = _attend_blocks(
        state, q, k_ptr, v_ptr, rows, clear, edge, numbers, False, CAUSAL, WINDOW, G * D, D, BLOCK_D, BLOCK_N
    )
    state = _attend_blocks(
        state, q, k_ptr, v_ptr, rows, edge, high, numbers, True, CAUSAL, WINDOW, G * D, D, BLOCK_D, BLOCK_N
    )
    top, total, out = state
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    log = tl.where(empty, float("inf"), top + tl.log2(total))
    _store_rows(out_ptr + q_at, out / total[:, None], rows, T, H * D, D, BLOCK_D)
    tl.store(log_ptr + (b * H + h) * T + rows, log, mask=rows < T)


@triton.jit
def queries_grad_kernel(
    q_ptr, k_ptr, v_ptr, grad_ptr, log_ptr, delta_ptr, dq_ptr, T, S, scale, root,
    H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Compute dQ of one block of queries of one head."""
    start, b, h = tl.program_id(0) * BLOCK_M, (tl.program_id(1) // H).to(tl.int64), tl.program_id(1) % H
    rows = start + tl.arange(0, BLOCK_M)
    q_at, key_at, row_at = (b * T * H + h) * D, (b * S * G + h // (H // G)) * D, (b * H + h) * T
    q = _load_rows(q_ptr + q_at, rows, T, H * D, D, BLOCK_D)
    grad = _load_rows(grad_ptr + q_at, rows, T, H * D, D, BLOCK_D)
    log = tl.load(log_ptr + row_at + rows, mask=rows < T, other=float("inf"))
    delta = tl.load(delta_ptr + row_at + rows, mask=rows < T, other=0.0)
    low, high = _key_range(start, T, S, CAUSAL, WINDOW, BLOCK_M)
    dq = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for begin in range(low // BLOCK_N * BLOCK_N, high, BLOCK_N):
        cols = begin + tl.arange(0, BLOCK_N)
        k = _load_rows(k_ptr + key_at, cols, S, G * D, D, BLOCK_D)
        v = _load_rows(v_ptr + key_at, cols, S, G * D, D, BLOCK_D)
        visible = _is_visible(rows, cols, T, S, CAUSAL, WINDOW)
        weights = tl.where(visible, tl.exp2(_product(q, tl.trans(k)) * scale - log[:, None]), 0.0)
        change = weights * (_product(grad, tl.trans(v)) - delta[:, None])
        dq += _product(change.to(k.dtype), k)
    _store_rows(dq_ptr + q_at, dq * root, rows, T, H * D, D, BLOCK_D)


@triton.jit
def keys_grad_kernel(
    q_ptr, k_ptr, v_ptr, grad_ptr, log_ptr, delta_ptr, dk_ptr, dv_ptr, T, S, scale, root,
    H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Compute dK and dV of one block of keys of one key head, over all query heads of its group."""
    start, b, g = tl.program_id(0) * BLOCK_N, (tl.program_id(1) // G).to(tl.int64), tl.program_id(1) % G
    cols = start + tl.arange(0, BLOCK_N)
    key_at = (b * S * G + g) * D
    k = _load_rows(k_ptr + key_at, cols, S, G * D, D, BLOCK_D)
    v = _load_rows(v_ptr + key_at, cols, S, G * D, D, BLOCK_D)
    dk, dv = tl.zeros([BLOCK_N, BLOCK_D], tl.float32), tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    first = start + T - S  # the query at the position of the first key
    low, high = 0, T
    if CAUSAL:
        low = tl.maximum(0, first)
    if WINDOW > 0:
        low = tl.maximum(low, first - WINDOW + 1)
        high = tl.maximum(0, tl.minimum(T, first + BLOCK_N + WINDOW - 1))
    for h in range(g * (H // G), (g + 1) * (H // G)):
        q_at, row_at = (b * T * H + h) * D, (b * H + h) * T
        for begin in range(low // BLOCK_M * BLOCK_M, high, BLOCK_M):
            rows = begin + tl.arange(0, BLOCK_M)
            q = _load_rows(q_ptr + q_at, rows, T, H * D, D, BLOCK_D)
            grad = _load_rows(grad_ptr + q_at, rows, T, H * D, D, BLOCK_D)
            log = tl.load(log_ptr + row_at + rows, mask=rows < T, other=float("inf"))
            delta = tl.load(delta_ptr + row_at + rows, mask=rows < T, other=0.0)
            scores = _product(q, tl.trans(k)) * scale
            visible = _is_visible(rows, cols, T, S, CAUSAL, WINDOW)
            weights = tl.where(visible, tl.exp2(scores - log[:, None]), 0.0)
            dv += _product(tl.trans(weights.to(grad.dtype)), grad)
            change = weights * (_product(grad, tl.trans(v)) - delta[:, None])
            dk += _product(tl.trans(change.to(q.dtype)), q)
    _store_rows(dk_ptr + key_at, dk * root, cols, S, G * D, D, BLOCK_D)
    _store_rows(dv_ptr + key_at, dv, cols, S, G * D, D, BLOCK_D)
