"""Base of all caches: preallocated tensors by name, with the batch as first axis."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from nhin.attention.base import Cache, CacheSpec, Keys, Mechanism, Queries
from nhin.errors import ShapeError, UsageError


class PreallocatedCache(Cache):
    """A cache allocated once, at the start: growing by ``cat`` copies everything at every step.

    Args:
        spec: Its sizes.
        shapes: Shapes of its tensors by name, without the batch axis, which comes first.
        dtypes: Their dtypes, where other than that of ``spec``.
    """

    _mechanism: Any = None  # checks what is appended

    def __init__(
        self,
        spec: CacheSpec,
        shapes: Mapping[str, tuple[int, ...]],
        dtypes: Mapping[str, torch.dtype] | None = None,
    ) -> None:
        for name in ("batch", "context", "kv_heads", "head_dim"):
            if getattr(spec, name) < 0:
                raise ShapeError(f"{name} is {getattr(spec, name)}; a cache needs 0 or more")
        self.spec = spec
        dtypes = dtypes or {}
        # Never inference tensors: those could not be reordered or restored outside inference mode.
        with torch.inference_mode(False):
            self.tensors = {
                name: torch.zeros(
                    (spec.batch, *shape), dtype=dtypes.get(name, spec.dtype), device=spec.device
                )
                for name, shape in shapes.items()
            }
        self.lengths: tuple[int, ...] = (0,) * spec.batch

    @property
    def size(self) -> int:
        """Bytes allocated, filled or not."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def max_length(self) -> int:
        """Length of the longest row."""
        return max(self.lengths, default=0)

    @property
    def has_equal_lengths(self) -> bool:
        """All rows have the same length."""
        return len(set(self.lengths)) <= 1

    def prefill(self, q: Queries, k: Keys, v: Keys, *, lengths: Sequence[int] | None = None) -> Queries:
        """Append several positions to every row; see ``Cache``."""
        self._check(q, k, v, lengths)
        if isinstance(self._mechanism, Mechanism):
            self._mechanism.check(q, k, v, causal=True, keep=None)
        count = q.shape[1]
        new = (count,) * self.spec.batch if lengths is None else tuple(lengths)
        out = self._prefill(q, k, v, new)
        self.lengths = tuple(old + more for old, more in zip(self.lengths, new, strict=True))
        if lengths is None or all(more == count for more in new):
            return out
        real = torch.arange(count) < torch.tensor(new)[:, None]
        return out.masked_fill(~real.to(out.device)[:, :, None, None], 0.0)

    @abstractmethod
    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        """Store the first ``new_lengths[i]`` positions of row i after its ``lengths[i]``; return outputs."""

    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of the contents."""
        return {"lengths": self.lengths} | {name: self._filled(x).clone() for name, x in self.tensors.items()}

    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Return to the contents of a snapshot."""
        before, lengths = self.lengths, snapshot.get("lengths")
        if isinstance(lengths, tuple) and len(lengths) == len(before):
            self.lengths = lengths
            stored = {name: self._filled(x) for name, x in self.tensors.items()}
            shapes = {name: getattr(snapshot.get(name), "shape", None) for name in stored}
            if shapes == {name: x.shape for name, x in stored.items()}:
                for name, x in stored.items():
                    x.copy_(snapshot[name])  # pyright: ignore[reportArgumentType] # a tensor
                return
        self.lengths = before
        raise ShapeError("this snapshot is of another cache; restore one taken from this cache")

    def _filled(self, x: Tensor) -> Tensor:
        """Return the part of a tensor that may be filled, as a view."""
        return x

    def truncate(self, length: int) -> None:
        """Refuse: what was summed or overwritten is lost."""
        raise UsageError(
            f"{type(self).__name__} cannot be truncated to {length}: what was summed or overwritten is lost; "
            "take snapshot() before and restore(...) it"
        )

    def reorder(self, rows: Int[Tensor, " B"]) -> None:
        """Let row i continue the former row ``rows[i]``."""
        batch = self.spec.batch
        if rows.shape != (batch,):
            raise ShapeError(f"rows has shape {tuple(rows.shape)}; give one row number for each of {batch}")
        order = rows.tolist()
        if any(not 0 <= row < batch for row in order):
            raise ShapeError(f"rows is {order}; row numbers go from 0 to {batch - 1}")
        for x in self.tensors.values():
            x.copy_(x.index_select(0, rows.to(x.device)))
        self.lengths = tuple(self.lengths[row] for row in order)

    def _check(self, q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int] | None) -> None:
        """Refuse inputs that do not fit, before anything is stored."""
        spec, count = self.spec, k.shape[1]
        if q.ndim != 4 or q.shape[0] != spec.batch:
            raise ShapeError(f"q has shape {tuple(q.shape)}; this cache takes ({spec.batch}, T, H, D)")
        for name, x in (("k", k), ("v", v)):
            if x.shape != (spec.batch, count, spec.kv_heads, spec.head_dim):
                raise ShapeError(
                    f"{name} has shape {tuple(x.shape)}; this cache takes ({spec.batch}, {count}, "
                    f"{spec.kv_heads}, {spec.head_dim}): build one for it with init_cache(...)"
                )
            if x.requires_grad and torch.is_grad_enabled():
                raise UsageError("a cache passes no gradient; decode under torch.inference_mode()")
        if lengths is not None and (
            len(lengths) != spec.batch or any(not 0 <= more <= count for more in lengths)
        ):
            raise ShapeError(
                f"lengths is {list(lengths)}; give each of {spec.batch} rows a number from 0 to {count}"
            )
        for length, more in zip(self.lengths, lengths or (count,) * spec.batch, strict=True):
            if length + more > spec.context:
                raise ShapeError(
                    f"the cache is full: {length} of {spec.context} positions taken, "
                    f"{more} more came; build it with a larger context or truncate it"
                )
