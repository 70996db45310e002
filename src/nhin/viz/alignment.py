"""The alignment of a trained encoder-decoder model, as in Bahdanau et al.: source across, target down."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nhin.viz.matrices import Matrix
from nhin.viz.plots import Panel, plot_panels


def draw_alignment(
    title: str, weights: NDArray[np.float64], source: Sequence[str], target: Sequence[str]
) -> Figure:
    """Draw weights, target x source, with the tokens of both."""
    names = tuple(token if token.strip() else "␣" for token in source)
    matrix = Matrix(weights[None], (len(target), len(source)), tuple(target), names)
    figure = plot_panels(title, [Panel("", matrix)], 1)
    figure.axes[0].set(xlabel="source", ylabel="target")
    return figure
