"""The figures of a model that read a text: weights of all layers and heads, and one layer step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from nhin.errors import UsageError
from nhin.viz import drawing
from nhin.viz.matrices import Matrix

MOST_PANELS = 144  # of one picture
FEW = 20  # places whose names fit beside a small panel
_TITLES = {"scores": "scores", "visible": "mask", "weights": "weights"}


@dataclass(frozen=True, slots=True)
class Layer:
    """What the attention of one layer did with a text.

    Args:
        number: Which layer.
        steps: Intermediates of its formula by name, in order, of one text; matrices are ``H T S``.
        kv_heads: Heads of keys and values, which heads share evenly.
        scaled: Whether weights are a softmax of scaled products of queries and keys, and nothing else.
    """

    number: int
    steps: Mapping[str, np.ndarray]
    kv_heads: int
    scaled: bool = False

    @property
    def heads(self) -> int:
        """How many heads look."""
        return len(self.steps["weights"])


def grid(title: str, layers: Sequence[Layer], heads: Sequence[int], names: Sequence[str]) -> Figure:
    """Draw the weights of some heads of some layers, a row for each layer."""
    _bounded(len(layers) * len(heads), "layers and heads")
    few = names if len(names) <= FEW else ()
    rows = [
        [
            drawing.Panel(f"layer {one.number}, head {head}", _matrix(one.steps["weights"], head, few))
            for head in heads
        ]
        for one in layers
    ]
    return drawing.table(title, rows, bars=False)


def layer(title: str, one: Layer, heads: Sequence[int], names: Sequence[str]) -> Figure:
    """Draw scores, mask and weights of some heads of a layer, a row for each head."""
    told = _TITLES | ({"scores": "scaled QK", "weights": "softmax"} if one.scaled else {})
    shown = [name for name in told if name in one.steps]
    _bounded(len(shown) * len(heads), "heads")
    rows = [
        [
            drawing.Panel(
                f"head {head}: {told[name]}", _matrix(one.steps[name], head, names), seen=name == "visible"
            )
            for name in shown
        ]
        for head in heads
    ]
    return drawing.table(title, rows)


def steps(title: str, one: Layer, head: int) -> Figure:
    """Draw every intermediate of a layer's formula for one head."""
    drawn = [
        (f"{name}  {' × '.join(map(str, value.shape))}", _of_head(value, head, one), value.dtype == bool)
        for name, value in one.steps.items()
    ]
    return drawing.steps(f"{title}, head {head}: the formula, step by step", drawn)


def _bounded(panels: int, what: str) -> None:
    if panels > MOST_PANELS:
        raise UsageError(
            f"{panels} panels are more than {MOST_PANELS}; choose {what} with --layer and --head"
        )


def _matrix(values: np.ndarray, head: int, names: Sequence[str]) -> Matrix:
    """Return one head's matrix; a mask may be the same for all heads."""
    one = values[min(head, len(values) - 1)]
    return Matrix(one[None], one.shape, tuple(names), tuple(names))


def _of_head(value: np.ndarray, head: int, one: Layer) -> np.ndarray:
    """Return two axes of an intermediate: those of one head, wherever the axis of heads stands."""
    places = {one.heads: head, one.kv_heads: head * one.kv_heads // one.heads}
    # Vectors of places come as T H D, everything else with the heads first.
    length = one.steps["weights"].shape[-1]
    order = (1, 0) if value.shape[0] == length != value.shape[-1] else (0, 1)
    while value.ndim > 2:
        axis = next((axis for axis in order if value.shape[axis] in places), 0)
        value = value.take(places.get(value.shape[axis], 0), axis)
    return value.reshape(-1, value.shape[-1] if value.ndim else 1)
