"""Read the detected lines of a picture, each in the direction in which the page reads best."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nhin.image.preprocess import Pixels
from nhin.reading.gutter_split import split_at_gutters
from nhin.reading.line_crop import LineCrop, crop_line
from nhin.reading.line_shape import LineShape
from nhin.reading.orientation import align_directions, settle_orientation
from nhin.reading.page_edges import PageEdges, find_edges
from nhin.reading.result import Recognition

EMPTY = Recognition("", 0.0)


class LineReader:
    """Crops and reads lines of one picture, each once, though its orientation is settled on the way.

    Args:
        picture: H x W x 3, RGB.
        read_crops: Returns the text of each crop; see ``Recognizer.read``.
        min_side: Crops with a shorter side below this, in pixels, are not read.
    """

    def __init__(
        self,
        picture: NDArray[np.uint8],
        read_crops: Callable[[Sequence[Pixels]], list[Recognition]],
        min_side: int = 1,
    ) -> None:
        self.picture, self.read_crops, self.min_side = picture, read_crops, min_side
        self.edges: PageEdges | None = None
        self._crops: dict[bytes, LineCrop | None] = {}
        self._texts: dict[bytes, Recognition] = {}

    def read(self, lines: Sequence[LineShape]) -> list[Recognition]:
        """Return the text of each line, as it is directed."""
        return [recognition for _, recognition in self._read_new(lines)]

    def read_page(self, lines: Sequence[LineShape]) -> list[tuple[LineCrop | None, Recognition]]:
        """Return the crop and the text of lines, in the direction of the page; None if too small to read.

        There may be more lines than were given: those that run across a gutter or a rule are cut.
        """
        settled = settle_orientation(align_directions(lines), self.read)
        self.edges = find_edges(self.picture, settled)
        settled = split_at_gutters(settled, self._crop_new(settled), self.edges)
        return self._read_new(settled)

    def _crop_new(self, lines: Sequence[LineShape]) -> list[LineCrop | None]:
        """Return the crop of each line; what was cropped before is not cropped again."""
        keys = [line.center.tobytes() for line in lines]
        for key, line in zip(keys, lines, strict=True):
            if key not in self._crops:
                crop = crop_line(self.picture, line)
                is_small = crop is not None and min(crop.pixels.shape[:2]) < self.min_side
                self._crops[key] = None if is_small else crop
        return [self._crops[key] for key in keys]

    def _read_new(self, lines: Sequence[LineShape]) -> list[tuple[LineCrop | None, Recognition]]:
        """Return the crop of each line and its text; what was read before is not read again."""
        keys, crops = [line.center.tobytes() for line in lines], self._crop_new(lines)
        fresh = {k: crop for k, crop in zip(keys, crops, strict=True) if crop and k not in self._texts}
        results = self.read_crops([crop.pixels for crop in fresh.values()]) if fresh else []
        self._texts.update(zip(fresh, results, strict=True))
        return [(crop, self._texts.get(key, EMPTY)) for key, crop in zip(keys, crops, strict=True)]
