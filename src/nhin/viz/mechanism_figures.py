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
from nhin.viz import plots
from nhin.viz.matrices import Matrix, compute_weights

WithProgress = Callable[[Iterable[int]], Iterable[int]]
MAX_STEPS_LENGTH = 512  # places of a sequence whose every intermediate is drawn


@dataclass(frozen=True, slots=True)
class FigureInputs:
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

    def weights(self, progress: WithProgress = iter) -> Matrix:
        """Return what queries give keys, pooled to what a picture shows."""
        matrix = compute_weights(self.mechanism, self.q, self.k, causal=self.causal, progress=progress)
        return replace(matrix, queries=tuple(self.names[0]), keys=tuple(self.names[1]))

    def format_title(self) -> str:
        """Say what is drawn."""
        given = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        sizes = f"{self.q.shape[1]} queries, {self.k.shape[1]} keys{', causal' if self.causal else ''}"
        return f"{self.mechanism.facts.title}{f' ({given})' if given else ''}: {sizes}"


def draw_card(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw who sees whom, the same causally where it can, and the weights, averaged over heads."""
    known = inputs.mechanism.facts.abilities
    plain = replace(inputs, causal=False).weights(progress)
    panels = [("who sees whom", plain, True)]
    last = plain
    if "causal" in known:
        last = replace(inputs, causal=True).weights(progress)
        panels.append(("causally", last, True))
    panels.append(
        ("weights, causal, mean of heads" if last is not plain else "weights, mean of heads", last, False)
    )
    return plots.plot_row(_title_of(replace(inputs, causal=False), plain), panels)


def draw_pattern(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw who sees whom."""
    matrix = inputs.weights(progress)
    return plots.plot_row(_title_of(inputs, matrix), [("who sees whom", matrix, True)])


def draw_weights(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw the weights of every head."""
    matrix = inputs.weights(progress)
    return plots.plot_heads(_title_of(inputs, matrix), matrix)


def draw_alignment(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw which word looks at which, averaged over heads."""
    matrix = inputs.weights(progress)
    return plots.plot_heads(
        _title_of(inputs, matrix), replace(matrix, values=matrix.values.mean(0, keepdims=True))
    )


def draw_steps(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw every intermediate of the formula, of the first head."""
    q, k = inputs.q, inputs.k
    if max(q.shape[1], k.shape[1]) > MAX_STEPS_LENGTH:
        raise UsageError(f"steps are drawn for at most {MAX_STEPS_LENGTH} places; give a shorter --length")
    with torch.no_grad():
        told = inputs.mechanism.explain(q, k, k, causal=inputs.causal)
    shared = {q.shape[2], k.shape[2]}
    drawn = [
        (
            f"{name}  {' × '.join(map(str, value.shape))}",
            _first_slice(value, shared),
            value.dtype == torch.bool,
        )
        for name, value in told.items()
    ]
    return plots.plot_steps(f"{inputs.format_title()}: the formula, step by step (head 0)", drawn)


def draw_file(name: str, matrix: Matrix) -> Figure:
    """Draw weights that came from a file."""
    queries, keys = matrix.shape
    return plots.plot_heads(f"{name}: {queries} queries, {keys} keys{_pooling_note(matrix)}", matrix)


def _title_of(inputs: FigureInputs, matrix: Matrix) -> str:
    return inputs.format_title() + _pooling_note(matrix)


def _pooling_note(matrix: Matrix) -> str:
    return "; each point is the largest of several" if matrix.is_pooled else ""


def _first_slice(value: Tensor, heads: set[int]) -> np.ndarray:
    """Return two axes of an intermediate: the first row of the batch, the first head."""
    value = value.detach().float()
    if value.ndim == 4 and value.shape[1] not in {*heads, 1} and value.shape[2] in heads:
        value = value.transpose(1, 2)
    while value.ndim > 2:
        value = value[0]
    return value.reshape(-1, value.shape[-1] if value.ndim else 1).numpy()
