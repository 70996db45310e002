"""Softmax attention, full or within a window, on our Triton kernels; Triton is imported at the first call."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Keys, Queries, check_dtypes, check_shapes
from nhin.errors import MissingExtra, UsageError, explain_install
from nhin.ranges import check_size

RowLogs = Float[Tensor, "B H T"]
MAX_HEAD_DIM = 128
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class KernelBlocks:
    """How many queries and keys a program handles, and how Triton schedules it."""

    queries: int = 128
    keys: int = 64
    warps: int = 4
    stages: int = 3

    @cached_property
    def options(self) -> dict[str, int]:
        """Return them under Triton's names."""
        return {
            "BLOCK_M": self.queries, "BLOCK_N": self.keys,
            "num_warps": self.warps, "num_stages": self.stages,
        }  # fmt: skip


# Tried by ``benchmarks/gpu.py``; the first is used where nothing was measured.
FORWARD_BLOCKS = (
    KernelBlocks(),
    KernelBlocks(128, 64, 8),
    KernelBlocks(128, 128, 8),
    KernelBlocks(64, 64),
    KernelBlocks(128, 32),
)
BACKWARD_BLOCKS = (
    KernelBlocks(64, 64, 4, 2),
    KernelBlocks(64, 128, 8, 2),
    KernelBlocks(128, 64, 8, 2),
    KernelBlocks(32, 64, 4, 2),
)
FLOAT32_BLOCKS = KernelBlocks(32, 32, 4, 1)


@dataclass(frozen=True)
class KernelCall:
    """What a call computes, besides its tensors.

    Args:
        causal: Hide later keys; the last query has the position of the last key.
        window: A query sees keys fewer than so many positions away; None means all.
        forward: Blocks of the forward pass; None means those that suit the dtype.
        backward: Blocks of the backward pass, likewise.
    """

    causal: bool = False
    window: int | None = None
    forward: KernelBlocks | None = None
    backward: KernelBlocks | None = None

    def blocks(self, dtype: torch.dtype, *, backward: bool) -> KernelBlocks:
        """Return the blocks of a pass: float32 takes twice the memory of a program, so it gets small ones."""
        chosen = self.backward if backward else self.forward
        if chosen is not None:
            return chosen
        if dtype == torch.float32:
            return FLOAT32_BLOCKS
        return (BACKWARD_BLOCKS if backward else FORWARD_BLOCKS)[0]


def attend(q: Queries, k: Keys, v: Keys, call: KernelCall | None = None) -> Queries:
    """Mix values by our kernels; a query that sees no key gives zeros.

    Keys and values must be finite: a hidden one that is not reaches the outputs of its block.

    Raises:
        MissingExtra: Triton is not installed.
        ShapeError: The tensors do not fit the contract.
        UsageError: The width, dtype or window is not supported.
    """
    call = call or KernelCall()
    check_shapes(q, k, v)
    check_dtypes(q, k, v)
    if call.window is not None:
        check_size("window", call.window)
    if q.shape[3] > MAX_HEAD_DIM or q.dtype not in DTYPES:
        raise UsageError(
            f"head_dim is {q.shape[3]} and dtype {q.dtype}; our kernels take a head_dim up to {MAX_HEAD_DIM} "
            "and float32, float16 or bfloat16"
        )
    if 0 in q.shape or 0 in k.shape:
        return q * 0 + (k.sum() + v.sum()) * 0
    return KernelFunction.apply(q.contiguous(), k.contiguous(), v.contiguous(), call)  # pyright: ignore[reportReturnType] # a tensor


class KernelFunction(torch.autograd.Function):
    """The kernels, bound to autograd; saves inputs, output and L, never weights."""

    @staticmethod
    def forward(ctx: Any, q: Queries, k: Keys, v: Keys, call: KernelCall) -> Queries:
        """Return the output."""
        out, log = run_forward(q, k, v, call)
        ctx.save_for_backward(q, k, v, out, log)
        ctx.call = call
        return out

    @staticmethod
    def backward(ctx: Any, grad: Queries) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one gradient per output
        """Return the gradients of q, k and v."""
        if torch.is_grad_enabled():
            raise UsageError("our kernels have no second derivative (create_graph=True); naive has one")
        q, k, v, out, log = ctx.saved_tensors
        return *run_backward(grad.contiguous(), q, k, v, out, log, ctx.call), None


def run_forward(q: Queries, k: Keys, v: Keys, call: KernelCall) -> tuple[Queries, RowLogs]:
    """Return the output and the logarithm, to base 2, of each query's sum of weights."""
    kernels, (b, t, h, _) = _load_kernels(), q.shape
    out, log = torch.empty_like(q), q.new_empty(b, h, t, dtype=torch.float32)
    blocks = call.blocks(q.dtype, backward=False)
    grid = (-(-t // blocks.queries), b * h)
    kernels.forward_kernel[grid](
        q, k, v, out, log, t, k.shape[1], _score_scale(q), **_sizes(q, k, call), **blocks.options
    )
    return out, log


def run_backward(
    grad: Queries, q: Queries, k: Keys, v: Keys, out: Queries, log: RowLogs, call: KernelCall
) -> tuple[Queries, Keys, Keys]:
    """Return the gradients of q, k and v."""
    kernels, (b, t, h, d), (_, s, g, _) = _load_kernels(), q.shape, k.shape
    delta = (grad.float() * out.float()).sum(-1).transpose(1, 2).contiguous()
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    blocks, inputs = call.blocks(q.dtype, backward=True), (q, k, v, grad, log, delta)
    numbers, sizes = (t, s, _score_scale(q), d**-0.5), _sizes(q, k, call) | blocks.options
    kernels.keys_grad_kernel[(-(-s // blocks.keys), b * g)](*inputs, dk, dv, *numbers, **sizes)
    kernels.queries_grad_kernel[(-(-t // blocks.queries), b * h)](*inputs, dq, *numbers, **sizes)
    return dq, dk, dv


def _score_scale(q: Queries) -> float:
    return q.shape[3] ** -0.5 * math.log2(math.e)


def _sizes(q: Queries, k: Keys, call: KernelCall) -> dict[str, int | bool]:
    return {
        "H": q.shape[2], "G": k.shape[2], "D": q.shape[3],
        "BLOCK_D": max(16, 1 << (q.shape[3] - 1).bit_length()),
        "CAUSAL": call.causal, "WINDOW": call.window or 0,
    }  # fmt: skip


def _load_kernels() -> Any:
    try:
        from nhin.attention.kernels import triton_kernels
    except ImportError as missing:
        raise MissingExtra(f"our GPU kernels need Triton; {explain_install('gpu')}") from missing
    return triton_kernels
