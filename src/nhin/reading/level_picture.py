"""Turn a picture upright and level, on a canvas that holds all of it."""

import cv2
import numpy as np
from numpy.typing import NDArray


def level_picture(
    picture: NDArray[np.uint8], angle: float, tolerance: float, color: tuple[float, ...] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Turn a picture (H x W x 3) whose text is turned clockwise by an angle in degrees.

    Args:
        picture: H x W x 3.
        angle: In degrees; near a multiple of 90 it is taken for that, so that no pixel is mixed with others.
        tolerance: Degrees that count as near.
        color: Of the corners that are added; by default that of the edges of the picture.

    Returns:
        The upright picture, and the matrix (2 x 3) from places in the picture to those in it, both measured
        from the upper left corner.
    """
    nearest = round(angle / 90) * 90
    angle = nearest if abs(angle - nearest) < tolerance else angle
    height, width = picture.shape[:2]
    matrix = np.asarray(cv2.getRotationMatrix2D((0, 0), angle, 1.0), np.float64)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ matrix[:, :2].T
    matrix[:, 2] = -corners.min(0)
    if angle == nearest:
        return np.ascontiguousarray(np.rot90(picture, nearest // 90)), matrix
    shifted = matrix.copy()
    shifted[:, 2] += 0.5 * matrix[:, :2].sum(1) - 0.5  # pixels are counted from their middles
    size = np.ceil(np.ptp(corners, axis=0) - 1e-6).astype(int).tolist()
    border = cv2.BORDER_REPLICATE if color is None else cv2.BORDER_CONSTANT
    turned = cv2.warpAffine(
        picture, shifted, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=color or ()
    )
    return np.asarray(turned, np.uint8), matrix
