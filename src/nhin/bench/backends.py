"""PyTorch's own attention kernels, each by name, behind the contract of mechanisms.

Source:  torch.nn.attention.sdpa_kernel; a set of kernels is tried in order only with ``set_priority``.
Differs: the mechanisms of the registry choose their kernels themselves; these take the one that is named,
         or fail.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from nhin.attention.base import Keep, Keys, Queries
from nhin.attention.softmax_base import SoftmaxAttention, softmax_facts
from nhin.errors import UsageError

# Name: the kernels allowed, in order, and a part of the name of the operation that must then run.
BACKENDS: Mapping[str, tuple[tuple[SDPBackend, ...], str]] = {
    "sdpa": ((SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH), ""),
    "sdpa-flash": ((SDPBackend.FLASH_ATTENTION,), "flash_attention"),
    "sdpa-cudnn": ((SDPBackend.CUDNN_ATTENTION,), "cudnn_attention"),
    "sdpa-efficient": ((SDPBackend.EFFICIENT_ATTENTION,), "efficient_attention"),
    "sdpa-math": ((SDPBackend.MATH,), "math"),
}


class BackendAttention(SoftmaxAttention):
    """Exact attention by one of PyTorch's kernels.

    Args:
        name: A key of ``BACKENDS``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.facts = softmax_facts(
            name, f"PyTorch {name}", memory="O(T·S)" if name == "sdpa-math" else "O(T + S)", exact=True,
            source="torch.nn.functional.scaled_dot_product_attention", family="exact",
        )  # fmt: skip
        self._allowed = list(BACKENDS[name][0])

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        is_single = q.shape[1] == 1  # the last query sees every key
        if keep is not None or (causal and not is_single and q.shape[1] != k.shape[1]):
            raise UsageError("PyTorch's kernels are measured without padding, on as many queries as keys")
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        with sdpa_kernel(self._allowed, set_priority=True):
            out = F.scaled_dot_product_attention(
                q, k, v, is_causal=causal and not is_single, enable_gqa=q.shape[1] != k.shape[1]
            )
        return out.transpose(1, 2)


def check_kernel(name: str, kernel: str) -> None:
    """Refuse a measurement in which another kernel than the named one ran.

    Raises:
        UsageError: The message names both.
    """
    wanted = BACKENDS[name][1] if name in BACKENDS else ""
    if wanted not in kernel:
        raise UsageError(f"{name} ran another kernel: {kernel or 'none of the fused ones'}")
