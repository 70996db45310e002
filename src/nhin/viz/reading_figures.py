"""Figures of a reader's attention: for each character of a text the crop, tinted where the decoder looked."""

from collections.abc import Sequence
from itertools import product
from math import ceil, sqrt

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nhin.image.preprocess import Pixels
from nhin.reading.decoder_attention import TextAttention
from nhin.viz.plots import STYLE

END = "⟨end⟩"
_SPACE = "␣"
_COLOR, _MAX_OPACITY = (0.84, 0.1, 0.25), 0.8
_HEIGHT, _GAP, _LABEL, _TITLE = 0.42, 0.09, 0.42, 0.34
_MAX_ASPECT, _MAX_COLUMNS = 16.0, 8
_MAX_PIXELS = 160  # of a crop's height in a figure


def draw_strips(
    title: str, parts: Sequence[TextAttention], layers: Sequence[int], heads: Sequence[int]
) -> Figure:
    """Draw a strip for each character of a line, and one for the end of each part.

    The tint is the mean weight over the layers and heads, the same scale in all strips of a figure.

    Args:
        title: Above all.
        parts: The parts of the line, from left to right.
        layers: Those of the mean.
        heads: The same.
    """
    means = [part.weights[np.ix_(layers, heads)].mean((0, 1)) for part in parts]
    largest = max(float(mean.max()) for mean in means)
    strips = [
        (part, label, row)
        for part, mean in zip(parts, means, strict=True)
        for label, row in zip([*part.text, END], mean, strict=True)
    ]
    width = _HEIGHT * min(_MAX_ASPECT, max(_find_aspect(part) for part in parts))
    count = len(strips)
    columns = min(_MAX_COLUMNS, max(1, round(sqrt(count * (_HEIGHT + _GAP) / (width + _LABEL + _GAP)))))
    rows = ceil(count / columns)
    size = (max(3.4, columns * (width + _LABEL + _GAP) + _GAP), rows * (_HEIGHT + _GAP) + _TITLE + _GAP)
    with mpl.rc_context(STYLE):
        figure = Figure(size)
        figure.text(0.5, 1 - 0.5 * _TITLE / size[1], title.replace("$", r"\$"), ha="center", va="center")
        # Read down a column, then down the next.
        for (column, row), (part, label, weights) in zip(
            product(range(columns), range(rows)), strips, strict=False
        ):
            left = _GAP + column * (width + _LABEL + _GAP) + _LABEL
            bottom = size[1] - _TITLE - (row + 1) * (_HEIGHT + _GAP) + _GAP
            own_width = min(width, _HEIGHT * _find_aspect(part))
            box = left / size[0], bottom / size[1], own_width / size[0], _HEIGHT / size[1]
            _draw_strip(figure.add_axes(box), part, label, weights / (largest or 1.0))
        return figure


def _draw_strip(axis: Axes, part: TextAttention, label: str, weights: NDArray[np.floating]) -> None:
    """Draw the crop in gray, and over each cell (rows x frames) the tint of its weight (0 to 1)."""
    height, width = part.picture.shape[:2]
    covered = weights.shape[1] * part.frame_width
    end = max(float(width), covered)
    axis.imshow(_shrink(part.picture), cmap="gray", vmin=-120, vmax=255, extent=(0, width, height, 0))
    tint = np.broadcast_to(np.array((*_COLOR, 0.0)), (*weights.shape, 4)).copy()
    tint[..., 3] = _MAX_OPACITY * np.clip(weights, 0, 1)
    axis.imshow(tint, extent=(0, covered, height, 0), interpolation="nearest")
    # The padding behind a crop is seen too.
    axis.set(xlim=(0, end), ylim=(height, 0), xticks=(), yticks=(), aspect="auto")
    for spine in axis.spines.values():
        spine.set(linewidth=0.4, color="#888888")
    axis.annotate(
        _SPACE if label.isspace() else label.replace("$", r"\$"),
        (0, 0.5),
        (-5, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8 if label == END else 12,
    )


def _find_aspect(part: TextAttention) -> float:
    """Return width over height of a strip, its padding included."""
    height, width = part.picture.shape[:2]
    return max(width, part.weights.shape[-1] * part.frame_width) / height


def _shrink(picture: Pixels) -> Pixels:
    """Return a crop in gray, not larger than a figure shows."""
    import cv2

    gray = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    scale = _MAX_PIXELS / max(1, gray.shape[0])
    if scale < 1:
        size = max(1, round(gray.shape[1] * scale)), _MAX_PIXELS
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)
