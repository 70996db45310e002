"""What every state does alike: its memory is named tensors with the batch as first axis."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from nhin.attention.base import Cache, CacheSpec, Keys, Queries
from nhin.errors import ShapeError, UsageError


class PreallocatedCache(Cache):
    """A state whose memory is taken once, at the start: growing by ``cat`` copies all at every step.

    Args:
        spec: How much it must hold; refused when it cannot be.
        shapes: Its memory by name, without the batch, which comes first.
        dtypes: How numbers are stored where ``spec`` does not say it.
    """

    def __init__(
        self,
        spec: CacheSpec,
        shapes: Mapping[str, tuple[int, ...]],
        dtypes: Mapping[str, torch.dtype] | None = None,
    ) -> None:
        for name in ("batch", "context", "kv_heads", "head_dim"):
            if getattr(spec, name) < 0:
                raise ShapeError(f"{name} is {getattr(spec, name)}; a state has room for 0 or more")
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
        """Bytes taken, filled or not."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def max_length(self) -> int:
        """Places of the longest row."""
        return max(self.lengths, default=0)

    @property
    def has_equal_lengths(self) -> bool:
        """All rows have the same length."""
        return len(set(self.lengths)) <= 1

    def prefill(self, q: Queries, k: Keys, v: Keys, *, lengths: Sequence[int] | None = None) -> Queries:
        """Read several places of every row; see ``State``."""
        self._check(q, k, v, lengths)
        places = q.shape[1]
        new = (places,) * self.spec.batch if lengths is None else tuple(lengths)
        out = self._prefill(q, k, v, new)
        self.lengths = tuple(old + more for old, more in zip(self.lengths, new, strict=True))
        if lengths is None or all(more == places for more in new):
            return out
        real = torch.arange(places) < torch.tensor(new)[:, None]
        return out.masked_fill(~real.to(out.device)[:, :, None, None], 0.0)

    @abstractmethod
    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        """Take in the first ``new[i]`` places of row i, whose length so far is ``lengths[i]``, and answer."""

    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of what is held."""
        return {"lengths": self.lengths} | {name: x.clone() for name, x in self.tensors.items()}

    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Go back to what was held when ``snapshot`` was taken."""
        if snapshot.keys() != {"lengths", *self.tensors} or any(
            getattr(snapshot[name], "shape", None) != x.shape for name, x in self.tensors.items()
        ):
            raise ShapeError("this snapshot is of another state; restore one taken from this state")
        for name, x in self.tensors.items():
            x.copy_(snapshot[name])  # pyright: ignore[reportArgumentType] # every other entry is a tensor
        self.lengths = snapshot["lengths"]  # pyright: ignore[reportAttributeAccessIssue] # this one is not

    def truncate(self, length: int) -> None:
        """Refuse: what is held cannot be undone."""
        raise UsageError(
            f"{type(self).__name__} cannot be truncated to {length}: what it forgot or summed does not come "
            "back; take snapshot() before and restore(...) it"
        )

    def reorder(self, rows: Int[Tensor, " B"]) -> None:
        """Let row i continue what row ``rows[i]`` was."""
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
        """Refuse what does not fit, before anything is read."""
        room, places = self.spec, k.shape[1]
        if q.ndim != 4 or q.shape[0] != room.batch:
            raise ShapeError(f"q has shape {tuple(q.shape)}; this state takes ({room.batch}, T, H, D)")
        for name, x in (("k", k), ("v", v)):
            if x.shape != (room.batch, places, room.kv_heads, room.head_dim):
                raise ShapeError(
                    f"{name} has shape {tuple(x.shape)}; this state takes ({room.batch}, {places}, "
                    f"{room.kv_heads}, {room.head_dim}): build one for it with new_state(...)"
                )
            if x.requires_grad and torch.is_grad_enabled():
                raise UsageError("a state passes no gradient; decode under torch.inference_mode()")
        if lengths is not None and (
            len(lengths) != room.batch or any(not 0 <= more <= places for more in lengths)
        ):
            raise ShapeError(
                f"lengths is {list(lengths)}; give each of {room.batch} rows a number from 0 to {places}"
            )
        for row in range(room.batch):
            more = places if lengths is None else lengths[row]
            if self.lengths[row] + more > room.context:
                raise ShapeError(
                    f"the cache is full: {self.lengths[row]} of {room.context} places taken, "
                    f"{more} more came; build it with a larger context or truncate it"
                )
