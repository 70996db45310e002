"""Figures of one mechanism: a card, the mask, weights, an alignment, the steps of its formula."""

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
MAX_STEPS_LENGTH = 512  # of a sequence whose every intermediate is drawn


@dataclass(frozen=True, slots=True)
class FigureInputs:
    """A mechanism with the inputs of a figure.

    Args:
        mechanism: The mechanism.
        q: Queries.
        k: Keys.
        causal: Hide later keys.
        names: Names of queries and keys; empty when they are numbered.
        settings: The mechanism's, for the title.
    """

    mechanism: Mechanism
    q: Float[Tensor, "1 T H D"]
    k: Float[Tensor, "1 S G D"]
    causal: bool
    names: tuple[Sequence[str], Sequence[str]] = ((), ())
    settings: Mapping[str, object] = field(default_factory=dict)

    def weights(self, progress: WithProgress = iter) -> Matrix:
        """Return the weights, pooled to the size of a figure."""
        matrix = compute_weights(self.mechanism, self.q, self.k, causal=self.causal, progress=progress)
        return replace(matrix, queries=tuple(self.names[0]), keys=tuple(self.names[1]))

    def format_title(self) -> str:
        """Return the title: mechanism, settings and sizes."""
        given = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        sizes = f"{self.q.shape[1]} queries, {self.k.shape[1]} keys{', causal' if self.causal else ''}"
        return f"{self.mechanism.facts.title}{f' ({given})' if given else ''}: {sizes}"


def draw_card(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw the mask, the causal mask where there is one, and the weights, averaged over heads."""
    inputs = replace(inputs, causal=False)
    matrix = inputs.weights(progress)
    title, panels, kind = _title_of(inputs, matrix), [plots.Panel("mask", matrix, True)], "weights"
    if "causal" in inputs.mechanism.facts.abilities:
        matrix, kind = replace(inputs, causal=True).weights(progress), "weights, causal"
        panels.append(plots.Panel("causal mask", matrix, True))
    panels.append(plots.Panel(f"{kind}, mean of heads", _mean_of_heads(matrix)))
    return plots.plot_panels(title, panels, len(panels), inches=2.9)


def draw_pattern(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw the mask."""
    matrix = inputs.weights(progress)
    return plots.plot_panels(_title_of(inputs, matrix), [plots.Panel("mask", matrix, True)], 1, inches=2.9)


def draw_weights(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw the weights of every head."""
    matrix = inputs.weights(progress)
    return plots.plot_heads(_title_of(inputs, matrix), matrix)


def draw_alignment(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw the weights averaged over heads."""
    matrix = inputs.weights(progress)
    return plots.plot_heads(_title_of(inputs, matrix), _mean_of_heads(matrix))


def draw_steps(inputs: FigureInputs, progress: WithProgress = iter) -> Figure:
    """Draw every intermediate of the formula, for the first head."""
    q, k = inputs.q, inputs.k
    if max(q.shape[1], k.shape[1]) > MAX_STEPS_LENGTH:
        raise UsageError(f"steps are drawn for at most {MAX_STEPS_LENGTH} positions; give a shorter --length")
    with torch.no_grad():
        steps = inputs.mechanism.explain(q, k, k, causal=inputs.causal)
    heads = {q.shape[2], k.shape[2]}
    slices = {name: _first_slice(value, heads) for name, value in steps.items()}
    shapes = {name: value.shape for name, value in steps.items()}
    return plots.plot_steps(f"{inputs.format_title()}: the formula, step by step (head 0)", slices, shapes)


def draw_file(name: str, matrix: Matrix) -> Figure:
    """Draw weights read from a file."""
    queries, keys = matrix.shape
    return plots.plot_heads(f"{name}: {queries} queries, {keys} keys{_pooling_note(matrix)}", matrix)


def _title_of(inputs: FigureInputs, matrix: Matrix) -> str:
    return inputs.format_title() + _pooling_note(matrix)


def _pooling_note(matrix: Matrix) -> str:
    return "; each point is the largest of several weights" if matrix.is_pooled else ""


def _mean_of_heads(matrix: Matrix) -> Matrix:
    return replace(matrix, values=matrix.values.mean(0, keepdims=True))


def _first_slice(value: Tensor, heads: set[int]) -> np.ndarray:
    """Return two axes of an intermediate, for the first row of the batch and the first head."""
    value = value.detach() if value.dtype == torch.bool else value.detach().float()
    if value.ndim == 4 and value.shape[1] not in {*heads, 1} and value.shape[2] in heads:
        value = value.transpose(1, 2)
    while value.ndim > 2:
        value = value[0]
    return value.reshape(-1, value.shape[-1] if value.ndim else 1).numpy()
