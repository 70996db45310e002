"""Figures of a model's attention to a text: weights of all layers and heads, and one layer step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from nhin.errors import UsageError
from nhin.viz import plots
from nhin.viz.matrices import Matrix

MAX_PANELS = 144  # of one figure
MAX_NAMED_POSITIONS = 20  # whose names fit beside a small panel
_TITLES = {"scores": "scores", "visible": "mask", "weights": "weights"}


@dataclass(frozen=True, slots=True)
class Layer:
    """The attention of one layer to a text.

    Args:
        number: From 0.
        steps: Intermediates of the formula by name, in order; matrices are ``H T S``.
        kv_heads: Number of key/value heads.
        is_scaled_softmax: Whether the weights are exactly a softmax of scaled products of queries and keys.
    """

    number: int
    steps: Mapping[str, np.ndarray]
    kv_heads: int
    is_scaled_softmax: bool = False

    @property
    def heads(self) -> int:
        """The number of query heads."""
        return len(self.steps["weights"])


def draw_layers(title: str, layers: Sequence[Layer], heads: Sequence[int], names: Sequence[str]) -> Figure:
    """Draw the weights of some heads of some layers, a row for each layer."""
    _check_panel_count(len(layers) * len(heads), "layers and heads")
    labels = names if len(names) <= MAX_NAMED_POSITIONS else ()
    panels = [
        plots.Panel(f"layer {layer.number}, head {head}", _head_matrix(layer.steps["weights"], head, labels))
        for layer in layers
        for head in heads
    ]
    return plots.plot_panels(title, panels, len(heads), inches=1.7, is_plain=True)


def draw_layer(title: str, layer: Layer, heads: Sequence[int], names: Sequence[str]) -> Figure:
    """Draw scores, mask and weights of some heads of a layer, a row for each head."""
    titles = _TITLES | ({"scores": "scaled QK", "weights": "softmax"} if layer.is_scaled_softmax else {})
    shown = {step: step_title for step, step_title in titles.items() if step in layer.steps}
    _check_panel_count(len(shown) * len(heads), "heads")
    panels = [
        plots.Panel(f"head {head}: {what}", _head_matrix(layer.steps[step], head, names), step == "visible")
        for head in heads
        for step, what in shown.items()
    ]
    return plots.plot_panels(title, panels, len(shown))


def draw_layer_steps(title: str, layer: Layer, head: int) -> Figure:
    """Draw every intermediate of a layer's formula for one head."""
    slices = {name: _head_slice(value, head, layer) for name, value in layer.steps.items()}
    shapes = {name: value.shape for name, value in layer.steps.items()}
    return plots.plot_steps(f"{title}, head {head}: the formula, step by step", slices, shapes)


def _check_panel_count(count: int, what: str) -> None:
    if count > MAX_PANELS:
        raise UsageError(f"{count} panels are more than {MAX_PANELS}; choose {what} with --layer and --head")


def _head_matrix(values: np.ndarray, head: int, names: Sequence[str]) -> Matrix:
    """Return the matrix of one head; a mask may be shared by all heads."""
    matrix = values[min(head, len(values) - 1)]
    return Matrix(matrix[None], matrix.shape, tuple(names), tuple(names))


def _head_slice(value: np.ndarray, head: int, layer: Layer) -> np.ndarray:
    """Return the two axes of an intermediate for one head, wherever its axis of heads is."""
    indices = {layer.heads: head, layer.kv_heads: head * layer.kv_heads // layer.heads}
    # Vectors per position are T H D, everything else has the heads first.
    length = layer.steps["weights"].shape[-1]
    order = (1, 0) if value.shape[0] == length != value.shape[-1] else (0, 1)
    while value.ndim > 2:
        axis = next((axis for axis in order if value.shape[axis] in indices), 0)
        value = value.take(indices.get(value.shape[axis], 0), axis)
    return value.reshape(-1, value.shape[-1] if value.ndim else 1)
