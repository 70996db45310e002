"""Tell print that shows through from the other side of a sheet: fainter by far than the page's own lines."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SURE = 0.9
"""Confidence from which a faint line is text that was printed faintly."""
_FAINT = 0.3  # of the contrast of the page's lines
_INK, _PAPER = 4, 96  # percentiles of the gray values of a crop


def find_faint(crops: Sequence[NDArray[np.uint8]]) -> list[bool]:
    """Return for the crop of each line of a page (H x W x 3) whether it is far fainter than most.

    The contrast of the page is the median over the lines' widths.
    """
    contrasts = np.array([np.ptp(np.percentile(crop.mean(axis=-1), (_INK, _PAPER))) for crop in crops])
    if not len(contrasts):
        return []
    order = np.argsort(contrasts)
    widths = np.array([crop.shape[1] for crop in crops], np.float64)[order].cumsum()
    middle = contrasts[order][int(np.searchsorted(widths, widths[-1] / 2, side="right"))]
    return (contrasts < _FAINT * middle).tolist()
