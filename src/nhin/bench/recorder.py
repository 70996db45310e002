"""Records which kernels run and counts the floating-point operations of matrix products and fused attention.

A product of n x m by m x p counts 2 n m p; fused attention 4 B H T S D, half of that when causal, and 2.5
times as much for its backward pass. What grows with the width alone is not counted.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_BY_NAME = {str(packet): count for packet, count in flop_registry.items()}
_COMPOSED = "CompositeImplicitAutograd"
_FUSED = "_scaled_dot_product_"


class OpRecorder(TorchDispatchMode):
    """Collects the names of fused attention kernels and counts operations while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0
        self.kernels: dict[str, None] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run an operation and count it."""
        if torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), _COMPOSED
        ):  # inference mode passes composed operations on as they are
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        ours = OPDEFS.get(func.name())
        if ours is not None:  # an operator written in Python, whose own operations count
            with self:
                return ours._init_fn(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        name = str(func._overloadpacket).rstrip("_")  # in place counts as out of place
        if _FUSED in name:
            given = dict(zip((x.name for x in func._schema.arguments), args, strict=False)) | (kwargs or {})
            self.kernels[name.partition(_FUSED)[2].removesuffix("_backward")] = None
            self.flops += _count_fused(given) * (2.5 if name.endswith("_backward") else 1)
        elif name in _BY_NAME:
            others = {key: value for key, value in (kwargs or {}).items() if key != "out"}
            self.flops += _BY_NAME[name](*args, **others, out_val=out)
        return out


def _count_fused(given: Mapping[str, Any]) -> float:
    q, k = given["query"], given["key"]
    assert isinstance(q, Tensor)
    return 4.0 * q.numel() * k.shape[-2] * (0.5 if given.get("is_causal") else 1)
