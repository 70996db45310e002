"""Cut a long line into windows that overlap, and join what the CTC head saw in them.

A line is scaled once. Its windows are equally wide and lie whole frames apart, so the frames of two windows
over the same columns can be compared: one is followed to a frame where both see a blank and agree on the
letters nearby, and from there on the other. Nothing is read twice, and no letter or space comes from a gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.image.preprocess import HEIGHT, MIN_WIDTH, STRIDE, WIDTH_BUCKET, Pixels, ink_channel

MAX_WINDOW = 20.0
"""Width over height of the widest window: about 60 letters of print, which the decoder can still follow."""
MIN_OVERLAP = 2.4
"""Width over height of the narrowest overlap of two windows."""
_NEAR = 4
_DISAGREEMENT, _NO_BLANK = 4.0, 1000.0


@dataclass(frozen=True, slots=True)
class LineWindows:
    """A line cut into windows.

    Args:
        pictures: height x width each, all equally wide.
        starts: The frame at which each begins.
        width: The line's width in pixels, without the padding on its right.
    """

    pictures: list[Pixels]
    starts: list[int]
    width: int


def cut_windows(crop: Pixels, height: int = HEIGHT) -> LineWindows:
    """Scale a crop to ``height``, extract its ink channel, and cut it into as few windows as it needs.

    Args:
        crop: height x width x 3 (RGB) or height x width (gray), not empty.
        height: The height in pixels that the network was trained on.
    """
    import cv2

    rows, columns = crop.shape[:2]
    width = max(1, round(columns * height / rows))
    method = cv2.INTER_AREA if rows > height else cv2.INTER_CUBIC
    line = ink_channel(np.asarray(cv2.resize(crop, (width, height), interpolation=method), np.uint8))
    widest, overlap = int(MAX_WINDOW * height), int(MIN_OVERLAP * height)
    count = max(1, -(-(width - overlap) // (widest - overlap)))
    wide = -(-(width + (count - 1) * overlap) // count)
    wide = max(MIN_WIDTH, -(-wide // WIDTH_BUCKET) * WIDTH_BUCKET)
    starts = [round(k * (width - wide) / max(1, count - 1) / STRIDE) for k in range(count)]
    border = np.concatenate([line[0], line[-1], line[:, 0], line[:, -1]])
    padded = np.full((height, max(width, starts[-1] * STRIDE + wide)), int(np.median(border)), np.uint8)
    padded[:, :width] = line
    return LineWindows([padded[:, s * STRIDE : s * STRIDE + wide] for s in starts], starts, width)


def find_cuts(frames: Sequence[NDArray[np.floating]], starts: Sequence[int]) -> list[int]:
    """Return the frames of the line between which each window is followed, from 0 to the last window's end.

    Args:
        frames: CTC log-probabilities of each window, frames x vocab.
        starts: The frame at which each window begins.
    """
    cuts = [0]
    for k in range(1, len(frames)):
        start, stop = starts[k], starts[k - 1] + len(frames[k - 1])
        left = frames[k - 1][start - starts[k - 1] :].argmax(axis=-1)
        right = frames[k][: stop - start].argmax(axis=-1)
        differs = np.convolve(left != right, np.ones(2 * _NEAR + 1), mode="same")
        is_blank = (left == ctc.BLANK) & (right == ctc.BLANK)
        off_center = np.abs(np.arange(len(left)) - len(left) / 2)
        cost = off_center + _DISAGREEMENT * differs + _NO_BLANK * ~is_blank
        cuts.append(start + int(cost.argmin()))
    return [*cuts, starts[-1] + len(frames[-1])]
