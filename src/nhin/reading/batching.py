"""Batches of preprocessed crops of equal width: none is padded, so no result depends on its batch."""

from collections.abc import Iterable, Sequence
from itertools import groupby

BATCH_SIZE = 32
_MAX_BATCH_WIDTH = 4096
"""Columns of preprocessed pixels in one batch; bounds memory for long lines."""


def group_by_width(widths: Sequence[int]) -> Iterable[list[int]]:
    """Yield batches of indices of equal width, at most ``BATCH_SIZE`` and ``_MAX_BATCH_WIDTH`` columns."""
    order = sorted(range(len(widths)), key=widths.__getitem__)
    for width, group in groupby(order, key=widths.__getitem__):
        indices = list(group)
        size = max(1, min(BATCH_SIZE, _MAX_BATCH_WIDTH // width))
        yield from (indices[start : start + size] for start in range(0, len(indices), size))
