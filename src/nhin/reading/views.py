"""Other views of a doubtful crop: stretched, inverted, and turned."""

import numpy as np

from nhin.image.preprocess import Pixels

_STRETCH = 1.35
_LEAST = 4
_THINNEST, _SHORTEST = 0.2, 0.4  # of the box: height and width of the word in it


def make_views(crop: Pixels) -> list[Pixels]:
    """Return a crop, and the same stretched and inverted."""
    import cv2

    size = max(_LEAST, round(_STRETCH * crop.shape[1])), crop.shape[0]
    stretched = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return [crop, stretched, 255 - crop]


def turn_word(crop: Pixels, degrees: float) -> Pixels | None:
    """Turn a crop counterclockwise, and cut it to a slanted word that touched all four of its sides.

    Args:
        crop: height x width x 3, or height x width.
        degrees: -40 to 40; how far the word falls to the right.

    Returns:
        The turned word; None if no word that is slanted so much has a box of this shape.
    """
    import cv2

    rows, columns = crop.shape[:2]
    angle = np.deg2rad(abs(degrees))
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    # The box of a word w x h that was turned is (w cos + h sin) x (w sin + h cos).
    wide, high = (x / (cos**2 - sin**2) for x in (columns * cos - rows * sin, rows * cos - columns * sin))
    if high < _THINNEST * rows or wide < _SHORTEST * columns:
        return None
    size = (min(1.06 * wide, 1.6 * columns), 1.12 * high)
    matrix = np.asarray(cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0))
    matrix[:, 2] += (np.array(size) - (columns, rows)) / 2
    shape = [max(_LEAST, round(x)) for x in size]
    turned = cv2.warpAffine(crop, matrix, shape, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8)
