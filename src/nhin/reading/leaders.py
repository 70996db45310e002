"""Tell a row of dots or dashes from text: a leader, a line to fill in, a dashed rule."""

import numpy as np

from nhin.image.preprocess import HEIGHT, Pixels, ink_channel

_MIN_MARKS = 8
_MAX_SPREAD = 1.6
_MIN_FILL = 0.6
_MIN_SHAPE, _MAX_SHAPE = 0.6, 8.0
_UNEVEN = 0.5
_LEAST_RANGE = 24


def is_leader(crop: Pixels) -> bool:
    """Return whether a crop shows nothing but equal, filled dots or dashes in one row, eight or more.

    Args:
        crop: height x width x 3 (RGB) or height x width (gray), not empty.
    """
    import cv2

    rows, columns = crop.shape[:2]
    if rows > HEIGHT:
        size = (max(1, round(columns * HEIGHT / rows)), HEIGHT)
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    if int(crop.max()) - int(crop.min()) < _LEAST_RANGE:
        return False
    _, mask = cv2.threshold(ink_channel(crop), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    mask = (mask if edge.mean() < 0.5 else 1 - mask).astype(np.uint8)
    marks = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:]
    if len(marks) < _MIN_MARKS:
        return False
    _, y, wide, high, area = marks.T.astype(np.float64)
    is_equal = all(x.max() <= _MAX_SPREAD * x.min() + 1 for x in (wide, high))
    is_filled = (area >= _MIN_FILL * wide * high).all()
    shape, middle = wide / high, y + high / 2
    is_level = np.ptp(middle) <= _UNEVEN * high.mean() + 1
    return bool(is_equal and is_filled and is_level and _MIN_SHAPE <= shape.mean() <= _MAX_SHAPE)
