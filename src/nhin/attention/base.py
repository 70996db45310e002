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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nhin.errors import ShapeError, UnknownName

Queries = Float[Tensor, "B T H D"]
Keys = Float[Tensor, "B S G D"]
Keep = Bool[Tensor, "B S"]
Weights = Float[Tensor, "B H T S"]
Rows = Float[Tensor, "B H rows S"]
Shown = Float[Tensor, "B H rows S"]  # the weights of some of the queries

ABILITIES: Mapping[str, str] = {
    "causal": "can hide later keys from earlier queries",
    "keep": "can hide padding",
    "cross": "takes another number of keys than of queries",
    "grouped": "takes fewer key/value heads than query heads",
    "convex": "weights are never negative and sum to one, so equal values come back unchanged",
    "unordered": "the order of the keys does not matter unless causal",
    "weights": "can return the weights it mixes with",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a mechanism is, as data: docs, bench and recommend read nothing else.

    Args:
        name: Its key in the registry.
        title: Its name in plain words.
        time: Growth of time with T, S and D.
        memory: Growth of working memory, inputs and outputs aside.
        exact: It equals softmax attention up to rounding.
        source: Where it comes from.
        abilities: Names from ``ABILITIES``.
    """

    name: str
    title: str
    time: str
    memory: str
    exact: bool
    source: str
    abilities: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse an ability nobody has defined."""
        for ability in self.abilities:
            if ability not in ABILITIES:
                raise UnknownName("ability", ability, ABILITIES)


@runtime_checkable
class Mechanism(Protocol):
    """Anything that mixes values by looking from queries to keys."""

    facts: Facts

    def __call__(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Return one mixed value per query."""
        ...


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
            raise ShapeError(f"{name} has shape {_show(tensor)}; give it the four axes {axes}")
    if k.shape != v.shape:
        raise ShapeError(f"k is {_show(k)} and v is {_show(v)}; give every key one value of the same width")
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
    _check_kind(q, k, v, keep)


def _check_kind(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None) -> None:
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
            f"keep has shape {_show(keep)}; it needs one entry per key, {want}, and nothing per query"
        )
    if keep.dtype != torch.bool:
        raise ShapeError(f"keep is {keep.dtype}; give booleans, True where a key may be seen (keep > 0)")
    if keep.device != k.device:
        raise ShapeError(f"keep is on {keep.device} and k on {k.device}; move it with .to(k.device)")


def _show(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
