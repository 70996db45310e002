"""The figures of one mechanism: a card, who sees whom, weights, an alignment, the steps of its formula."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from nhin.attention.base import Mechanism
from nhin.errors import UsageError
from nhin.viz import drawing
from nhin.viz.matrices import Matrix, looked

Shown = Callable[[Iterable[int]], Iterable[int]]
MOST_STEPS = 512  # places of a sequence whose every intermediate is drawn


@dataclass(frozen=True, slots=True)
class Scene:
    """Who looks at what.

    Args:
        mechanism: Looks.
        q: Queries ``1 T H D``.
        k: Keys ``1 S H D``.
        causal: Hide later keys.
        names: What queries and keys are called; empty where they have only numbers.
        settings: What the mechanism was given, to be named in the title.
    """

    mechanism: Mechanism
    q: Float[Tensor, "1 T H D"]
    k: Float[Tensor, "1 S G D"]
    causal: bool
    names: tuple[Sequence[str], Sequence[str]] = ((), ())
    settings: Mapping[str, object] = field(default_factory=dict)

    def weights(self, shown: Shown = iter) -> Matrix:
        """Return what queries give keys, pooled to what a picture shows."""
        matrix = looked(self.mechanism, self.q, self.k, causal=self.causal, shown=shown)
        return replace(matrix, queries=tuple(self.names[0]), keys=tuple(self.names[1]))

    def title(self) -> str:
        """Say what is drawn."""
        given = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        sizes = f"{self.q.shape[1]} queries, {self.k.shape[1]} keys{', causal' if self.causal else ''}"
        return f"{self.mechanism.facts.title}{f' ({given})' if given else ''}: {sizes}"


def card(scene: Scene, shown: Shown = iter) -> Figure:
    """Draw who sees whom, the same causally where it can, and the weights, averaged over heads."""
    known = scene.mechanism.facts.abilities
    plain = replace(scene, causal=False).weights(shown)
    panels = [("who sees whom", plain, True)]
    last = plain
    if "causal" in known:
        last = replace(scene, causal=True).weights(shown)
        panels.append(("causally", last, True))
    panels.append(
        ("weights, causal, mean of heads" if last is not plain else "weights, mean of heads", last, False)
    )
    return drawing.card(_told(replace(scene, causal=False), plain), panels)


def pattern(scene: Scene, shown: Shown = iter) -> Figure:
    """Draw who sees whom."""
    matrix = scene.weights(shown)
    return drawing.card(_told(scene, matrix), [("who sees whom", matrix, True)])


def weights(scene: Scene, shown: Shown = iter) -> Figure:
    """Draw the weights of every head."""
    matrix = scene.weights(shown)
    return drawing.heads(_told(scene, matrix), matrix)


def alignment(scene: Scene, shown: Shown = iter) -> Figure:
    """Draw which word looks at which, averaged over heads."""
    matrix = scene.weights(shown)
    return drawing.heads(_told(scene, matrix), replace(matrix, values=matrix.values.mean(0, keepdims=True)))


def steps(scene: Scene, shown: Shown = iter) -> Figure:
    """Draw every intermediate of the formula, of the first head."""
    q, k = scene.q, scene.k
    if max(q.shape[1], k.shape[1]) > MOST_STEPS:
        raise UsageError(f"steps are drawn for at most {MOST_STEPS} places; give a shorter --length")
    with torch.no_grad():
        told = scene.mechanism.explain(q, k, k, causal=scene.causal)
    shared = {q.shape[2], k.shape[2]}
    drawn = [
        (f"{name}  {' × '.join(map(str, value.shape))}", _flat(value, shared), value.dtype == torch.bool)
        for name, value in told.items()
    ]
    return drawing.steps(f"{scene.title()}: the formula, step by step (head 0)", drawn)


def own(name: str, matrix: Matrix) -> Figure:
    """Draw weights that came from a file."""
    queries, keys = matrix.shape
    return drawing.heads(f"{name}: {queries} queries, {keys} keys{_pooled(matrix)}", matrix)


def _told(scene: Scene, matrix: Matrix) -> str:
    return scene.title() + _pooled(matrix)


def _pooled(matrix: Matrix) -> str:
    return "; each point is the largest of several" if matrix.pooled else ""


def _flat(value: Tensor, heads: set[int]) -> np.ndarray:
    """Return two axes of an intermediate: the first row of the batch, the first head."""
    value = value.detach().float()
    if value.ndim == 4 and value.shape[1] not in {*heads, 1} and value.shape[2] in heads:
        value = value.transpose(1, 2)
    while value.ndim > 2:
        value = value[0]
    return value.reshape(-1, value.shape[-1] if value.ndim else 1).numpy()
