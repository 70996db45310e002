"""The one contract every mechanism keeps.

Axes, everywhere in nhin:
    B batch   T queries   S keys   H query heads   G key/value heads   D head width   C model width

A mechanism works in head space: it never projects, splits or merges heads. ``H`` is a multiple of
``G``: query heads ``g * H/G`` up to ``(g + 1) * H/G - 1`` look at key/value head ``g``.
Looking is limited in two ways only, so that mechanisms without a T x S table can obey:
    causal   query t sees keys up to S - T + t (the last query sees the last key)
    keep     True where a key may be seen by anyone; False for padding
A query that may see nothing gets zeros and passes zero gradient. What a hidden key or value holds,
NaN and infinity included, reaches neither an answer nor a gradient.
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
Rows = Float[Tensor, "B H rows S"]
WeightRows = Float[Tensor, "B H rows S"]  # the weights of some of the queries

ABILITIES: Mapping[str, str] = {
    "causal": "can hide later keys from earlier queries",
    "keep": "can hide padding",
    "cross": "takes another number of keys than of queries",
    "grouped": "takes fewer key/value heads than query heads",
    "convex": "weights are never negative and sum to one, so equal values come back unchanged",
    "unordered": "the order of the keys does not matter unless causal",
    "decode": "reads on from a state, place by place, with the causal answer",
    "truncate": "its state can forget the latest places exactly",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a mechanism is, as data: lists, docs, bench and recommend read nothing else.

    Args:
        name: Its key in the registry.
        title: Its name in plain words.
        time: Growth of time with T, S and D.
        memory: Growth of working memory, inputs and outputs aside.
        exact: It equals softmax attention up to rounding.
        source: Where it comes from.
        abilities: Names from ``ABILITIES``.
        family: The row of the comparison it stands in: exact, scores, reach, bias, linear, low-rank, sparse.
        state: What decoding keeps for one sequence, in numbers; empty when it cannot decode.
        use: When to choose it, in one sentence.
    """

    name: str
    title: str
    time: str
    memory: str
    exact: bool
    source: str
    abilities: frozenset[str] = frozenset()
    family: str = ""
    state: str = ""
    use: str = ""

    def __post_init__(self) -> None:
        """Refuse an ability nobody has defined."""
        for ability in self.abilities:
            if ability not in ABILITIES:
                raise UnknownName("ability", ability, ABILITIES)


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """How much a state must hold.

    Args:
        batch: Sequences decoded together.
        context: Most places of one sequence.
        kv_heads: Key/value heads.
        head_dim: Width of one head.
        dtype: How numbers are stored.
        device: Where they are stored.
    """

    batch: int
    context: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype = torch.float32
    device: torch.device | str | None = None


class Cache(ABC):
    """What a mechanism remembers of the sequences of a batch; for inference only.

    Rows may have different lengths: each goes on from its own. See ``attention.states`` for those there are.
    """

    lengths: tuple[int, ...]

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes taken, filled or not."""

    @abstractmethod
    def prefill(self, q: Queries, k: Keys, v: Keys, *, lengths: Sequence[int] | None = None) -> Queries:
        """Read several places of every row and answer their queries, causally.

        Args:
            q: Looks.
            k: Is looked at, now and later.
            v: Is mixed.
            lengths: How many of the T places are real in each row, the others being padding after them
                whose answers are zeros; all when None.

        Raises:
            ShapeError: They do not fit or there is no room; nothing has been read.
            UsageError: They want a gradient, which cannot pass through a state.
        """

    def step(
        self, q: Float[Tensor, "B 1 H D"], k: Float[Tensor, "B 1 G D"], v: Float[Tensor, "B 1 G D"]
    ) -> Float[Tensor, "B 1 H D"]:
        """Read one place of every row; see ``prefill``."""
        return self.prefill(q, k, v)

    @abstractmethod
    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of what is held, which nothing that follows will change."""

    @abstractmethod
    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Go back to what was held when ``snapshot`` was taken from this state."""

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Forget every place from ``length`` on.

        Raises:
            UsageError: What is held cannot be undone exactly; take a snapshot and restore it instead.
        """

    @abstractmethod
    def reorder(self, rows: Int[Tensor, " B"]) -> None:
        """Let row i continue what row ``rows[i]`` was, for beams."""


class Mechanism(nn.Module):
    """Anything that mixes values by looking from queries to keys."""

    facts: Facts

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Return one mixed value per query."""
        raise NotImplementedError

    def weights(
        self,
        q: Queries,
        k: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        rows: slice | None = None,
    ) -> WeightRows:
        """Return what each query (of ``rows``, all when None) gives each key.

        Written as the formula says it and differentiable: the slow twin of ``forward``. Where scores are
        never formed, the matrix that the formula implies.
        """
        raise NotImplementedError

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return every intermediate of the formula by name, in order; the last is ``output``."""
        shown = self.weights(q, k, causal=causal, keep=keep)
        return {"weights": shown, "output": self(q, k, v, causal=causal, keep=keep)}

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty state to decode from.

        Raises:
            UsageError: This mechanism cannot decode.
        """
        raise missing_ability(self.facts, "decode")


def missing_ability(facts: Facts, ability: str) -> UsageError:
    """Return the error for an ability a mechanism lacks; it names those that have it."""
    able = sorted({known.name for known in _all_facts(Mechanism) if ability in known.abilities})
    return UsageError(
        f"{facts.name} lacks {ability!r} ({ABILITIES[ability]}); these have it: {', '.join(able)}"
    )


def _all_facts(cls: type[Mechanism]) -> Iterator[Facts]:
    """Yield the facts of every mechanism that is defined below a class."""
    for subclass in cls.__subclasses__():
        if "facts" in vars(subclass):
            yield subclass.facts
        yield from _all_facts(subclass)


def check_call(
    facts: Facts, q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, keep: Tensor | None = None
) -> None:
    """Refuse tensors that do not fit the contract, and what the mechanism has no ability for.

    Raises:
        ShapeError: Tensors do not fit; see ``check``.
        UsageError: An ability is missing; the message names the mechanisms that have it.
    """
    check(q, k, v, keep)
    wanted = {
        "causal": causal,
        "keep": keep is not None,
        "cross": q.shape[1] != k.shape[1],
        "grouped": q.shape[2] != k.shape[2],
    }
    for ability, asked in wanted.items():
        if asked and ability not in facts.abilities:
            raise missing_ability(facts, ability)


def check_built(facts: Facts, q: Tensor, *, heads: int | None = None, head_dim: int | None = None) -> None:
    """Refuse queries of other sizes than the mechanism was built for.

    Raises:
        ShapeError: The message names the size, both values and the way out.
    """
    for name, built, got in (("heads", heads, q.shape[2]), ("head_dim", head_dim, q.shape[3])):
        if built is not None and built != got:
            raise ShapeError(
                f"{name} is {got} in q, but this {facts.name} was built for {built}; "
                f"build it with {name}={got}"
            )


def check(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None = None) -> None:
    """Refuse tensors that do not fit the contract.

    Args:
        q: Should be ``B T H D``.
        k: Should be ``B S G D``.
        v: Should be shaped like k.
        keep: Should be ``B S`` and boolean.

    Raises:
        ShapeError: They do not fit; the message names the argument, its value and the way out.
    """
    for name, tensor, axes in (("q", q, "B T H D"), ("k", k, "B S G D"), ("v", v, "B S G D")):
        if tensor.ndim != 4:
            raise ShapeError(f"{name} has shape {_shape_text(tensor)}; give it the four axes {axes}")
    if k.shape != v.shape:
        raise ShapeError(
            f"k is {_shape_text(k)} and v is {_shape_text(v)}; give every key one value of the same width"
        )
    for axis, place, way in (
        ("batch", 0, "repeat the smaller one"),
        ("head_dim", 3, "project both to one width"),
    ):
        if q.shape[place] != k.shape[place]:
            raise ShapeError(f"{axis} is {q.shape[place]} in q and {k.shape[place]} in k; {way}")
    if k.shape[2] == 0 or q.shape[2] % k.shape[2] != 0:
        raise ShapeError(
            f"q has {q.shape[2]} heads and k has {k.shape[2]}; make kv_heads divide heads (1 always does)"
        )
    _check_dtypes_and_keep(q, k, v, keep)


def _check_dtypes_and_keep(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None) -> None:
    """Refuse tensors of several dtypes or devices, and a ``keep`` that is no mask of the keys."""
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
        want = (k.shape[0], k.shape[1])
        raise ShapeError(
            f"keep has shape {_shape_text(keep)}; it needs one entry per key, {want}, and nothing per query"
        )
    if keep.dtype != torch.bool:
        raise ShapeError(f"keep is {keep.dtype}; give booleans, True where a key may be seen (keep > 0)")
    if keep.device != k.device:
        raise ShapeError(f"keep is on {keep.device} and k on {k.device}; move it with .to(k.device)")


def _shape_text(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
