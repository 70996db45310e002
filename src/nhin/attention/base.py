"""The contract that every attention mechanism keeps.

Axes, everywhere in nhin:
    B batch   T queries   S keys   H query heads   G key/value heads   D head width   C model width

A mechanism works on heads: it never projects, splits or merges them. ``H`` is a multiple of ``G``:
query heads ``g * H/G`` up to ``(g + 1) * H/G - 1`` attend to key/value head ``g``.
Only two things hide keys, so that mechanisms without a T x S table can obey them:
    causal   query t attends to keys up to S - T + t (the last query attends to the last key)
    keep     False for keys, such as padding, that no query may attend to
A query without any key gives zeros and passes zero gradient. The contents of a hidden key or value,
NaN and infinity included, reach neither an output nor a gradient.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nhin.errors import ShapeError, UnknownName, UsageError

Queries = Float[Tensor, "B T H D"]
Keys = Float[Tensor, "B S G D"]
Keep = Bool[Tensor, "B S"]
Weights = Float[Tensor, "B H T S"]
WeightRows = Float[Tensor, "B H rows S"]  # of some of the queries

ABILITIES: Mapping[str, str] = {
    "causal": "can hide later keys from earlier queries",
    "keep": "can hide padding",
    "cross": "takes another number of keys than of queries",
    "grouped": "takes fewer key/value heads than query heads",
    "convex": "weights are never negative and sum to one, so equal values come back unchanged",
    "unordered": "the order of the keys does not matter unless causal",
    "decode": "decodes step by step from a cache, with the outputs of the causal pass",
    "truncate": "its cache can drop the latest positions exactly",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What lists, docs, bench and recommend know of a mechanism."""

    name: str  # its key in the registry
    title: str
    time: str  # growth with T, S and D
    memory: str  # growth of working memory, besides inputs and outputs
    exact: bool  # it equals softmax attention up to rounding
    source: str
    abilities: frozenset[str] = frozenset()  # names from ``ABILITIES``
    family: str = ""  # exact, scores, reach, bias, linear, low-rank or sparse
    state: str = ""  # numbers that its cache holds for one sequence; empty when it cannot decode
    use: str = ""  # when to choose it

    def __post_init__(self) -> None:
        """Refuse an undefined ability."""
        for ability in self.abilities:
            if ability not in ABILITIES:
                raise UnknownName("ability", ability, ABILITIES)


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """The sizes of a cache."""

    batch: int  # sequences decoded together
    context: int  # maximum length of a sequence
    kv_heads: int
    head_dim: int
    dtype: torch.dtype = torch.float32
    device: torch.device | str | None = None


class Cache(ABC):
    """What a mechanism stores of the sequences of a batch while decoding; for inference only.

    Rows may differ in length: each continues from its own.
    """

    lengths: tuple[int, ...]

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes allocated, filled or not."""

    @abstractmethod
    def prefill(self, q: Queries, k: Keys, v: Keys, *, lengths: Sequence[int] | None = None) -> Queries:
        """Append several positions to every row and return the outputs of their queries, causally.

        Args:
            q: Queries of the new positions.
            k: Their keys.
            v: Their values.
            lengths: How many of the T positions are real in each row; the others are padding after them,
                whose outputs are zeros. None means all.

        Raises:
            ShapeError: They do not fit or the cache is full; nothing has been stored.
            UsageError: They require a gradient, which cannot pass through a cache.
        """

    def step(
        self, q: Float[Tensor, "B 1 H D"], k: Float[Tensor, "B 1 G D"], v: Float[Tensor, "B 1 G D"]
    ) -> Float[Tensor, "B 1 H D"]:
        """Append one position to every row; see ``prefill``."""
        return self.prefill(q, k, v)

    @abstractmethod
    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of the contents."""

    @abstractmethod
    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Return to the contents that ``snapshot`` copied from this cache."""

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Drop every position from ``length`` on.

        Raises:
            UsageError: This cannot be done exactly; take a snapshot and restore it instead.
        """

    @abstractmethod
    def reorder(self, rows: Int[Tensor, " B"]) -> None:
        """Let row i continue the former row ``rows[i]``, for beams."""


class Mechanism(nn.Module):
    """Mixes values by attending from queries to keys.

    ``forward``, ``weights`` and ``explain`` check their inputs and call ``_attend``, ``_weights`` and
    ``_explain``, which a mechanism overrides.
    """

    facts: Facts
    heads: int | None = None  # the sizes that it was built for, if any
    head_dim: int | None = None

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Return one mixed value per query."""
        self.check(q, k, v, causal=causal, keep=keep)
        return self._attend(q, k, v, causal, keep)

    def weights(
        self,
        q: Queries,
        k: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        rows: slice | None = None,
    ) -> WeightRows:
        """Return the weight that each query (of ``rows``, all when None) gives each key.

        Computed as the formula says, and differentiable: the slow reference of ``forward``. Where scores
        are never formed, the matrix that the formula implies.
        """
        self.check(q, k, k, causal=causal, keep=keep)
        return self._weights(q, k, causal, keep, rows or slice(None))

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return every intermediate of the formula by name, in order; the last is ``output``."""
        self.check(q, k, v, causal=causal, keep=keep)
        steps = self._explain(q, k, v, causal, keep)
        return steps | {"output": self(q, k, v, causal=causal, keep=keep)}

    def check(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool, keep: Tensor | None) -> None:
        """Refuse inputs that do not fit the contract, the abilities, or the sizes it was built for."""
        check_shapes(q, k, v)
        check_dtypes(q, k, v, keep)
        check_abilities(self.facts, q, k, causal=causal, keep=keep)
        check_built(self.facts, q, heads=self.heads, head_dim=self.head_dim)

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty cache to decode from.

        Raises:
            UsageError: This mechanism cannot decode.
        """
        raise missing_ability(self.facts, "decode")

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        raise NotImplementedError

    def _weights(self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice) -> WeightRows:
        raise NotImplementedError

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Return every intermediate but the output."""
        return {"weights": self._weights(q, k, causal, keep, slice(None))}


def missing_ability(facts: Facts, ability: str) -> UsageError:
    """Return the error for an ability a mechanism lacks; it names the mechanisms that have it."""
    able = sorted({facts.name for facts in _all_facts(Mechanism) if ability in facts.abilities})
    return UsageError(
        f"{facts.name} lacks {ability!r} ({ABILITIES[ability]}); these have it: {', '.join(able)}"
    )


def _all_facts(cls: type[Mechanism]) -> Iterator[Facts]:
    """Yield the facts of every subclass that defines its own."""
    for subclass in cls.__subclasses__():
        if "facts" in vars(subclass):
            yield subclass.facts
        yield from _all_facts(subclass)


def check_abilities(facts: Facts, q: Tensor, k: Tensor, *, causal: bool, keep: Tensor | None) -> None:
    """Refuse uses that a mechanism has no ability for.

    Raises:
        UsageError: The message names the mechanisms that have it.
    """
    needs = {
        "causal": causal,
        "keep": keep is not None,
        "cross": q.shape[1] != k.shape[1],
        "grouped": q.shape[2] != k.shape[2],
    }
    for ability, needed in needs.items():
        if needed and ability not in facts.abilities:
            raise missing_ability(facts, ability)


def check_built(facts: Facts, q: Tensor, *, heads: int | None = None, head_dim: int | None = None) -> None:
    """Refuse queries of other sizes than the mechanism was built for.

    Raises:
        ShapeError: The message names the size, both values and the remedy.
    """
    for name, built, size in (("heads", heads, q.shape[2]), ("head_dim", head_dim, q.shape[3])):
        if built is not None and built != size:
            raise ShapeError(
                f"{name} is {size} in q, but this {facts.name} was built for {built}; "
                f"build it with {name}={size}"
            )


def check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Refuse tensors whose shapes do not fit the contract: q ``B T H D``, k and v ``B S G D``.

    Raises:
        ShapeError: The message names the argument, its value and the remedy.
    """
    for name, tensor, axes in (("q", q, "B T H D"), ("k", k, "B S G D"), ("v", v, "B S G D")):
        if tensor.ndim != 4:
            raise ShapeError(f"{name} has shape {_shape_text(tensor)}; give it the four axes {axes}")
    if k.shape != v.shape:
        raise ShapeError(
            f"k is {_shape_text(k)} and v is {_shape_text(v)}; give every key one value of the same width"
        )
    for name, axis, remedy in (
        ("batch", 0, "repeat the smaller one"),
        ("head_dim", 3, "project both to one width"),
    ):
        if q.shape[axis] != k.shape[axis]:
            raise ShapeError(f"{name} is {q.shape[axis]} in q and {k.shape[axis]} in k; {remedy}")
    if k.shape[2] == 0 or q.shape[2] % k.shape[2] != 0:
        raise ShapeError(
            f"q has {q.shape[2]} heads and k has {k.shape[2]}; make kv_heads divide heads (1 always does)"
        )


def check_dtypes(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None = None) -> None:
    """Refuse mixed dtypes or devices, and a ``keep`` that is no mask of the keys, ``B S`` and boolean.

    Raises:
        ShapeError: The message names the argument, its value and the remedy.
    """
    for name, tensor in (("k", k), ("v", v)):
        if tensor.device != q.device:
            raise ShapeError(
                f"{name} is on {tensor.device} and q on {q.device}; move them together with .to(...)"
            )
        if tensor.dtype != q.dtype and not torch.is_autocast_enabled(q.device.type):
            raise ShapeError(
                f"{name} is {tensor.dtype} and q is {q.dtype}; cast them alike or use torch.autocast"
            )
    if keep is None:
        return
    if keep.ndim != 2 or keep.shape[0] != k.shape[0] or keep.shape[1] != k.shape[1]:
        raise ShapeError(
            f"keep has shape {_shape_text(keep)}; "
            f"it needs one entry per key, {tuple(k.shape[:2])}, and nothing per query"
        )
    if keep.dtype != torch.bool:
        raise ShapeError(f"keep is {keep.dtype}; give booleans, True where a key may be seen (keep > 0)")
    if keep.device != k.device:
        raise ShapeError(f"keep is on {keep.device} and k on {k.device}; move it with .to(k.device)")


def _shape_text(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
