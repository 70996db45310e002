"""Find the lines of text in a picture with nhin's own detector.

A small network marks the middle of every line, and tells its height and the direction it reads
(``models.detector``; ``line_maps`` makes lines of that). It sees lines whose capitals are 6 to 80 pixels
high. So a picture is shown to it at one scale, then, for larger letters, at a quarter of it; and where the
network says that text is too small, that part again, three times as large.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.image.contrast import is_blank, stretch_contrast
from nhin.image.detector_maps import CORE_STRIDE, FIELD_STRIDE, STRIDE
from nhin.reading.level_picture import level_picture
from nhin.reading.line_cleanup import clean_lines, measure_skew, measure_turn, merge_scales
from nhin.reading.line_maps import Maps, find_lines
from nhin.reading.line_shape import Detection, LineShape
from nhin.reading.onnx_session import open_session

BUNDLED = Path(__file__).parents[1] / "weights" / "detector.onnx"
_TALLEST = 56.0  # pixels at one scale, from which the coarser one sees a line better
_REDUCE, _ENLARGE = 4, 3
_TINY, _MIN_TINY = 0.5, 24  # probability, and cells of the map in a tile, from which text is too small
_BORDER = 24
_MAX_SKEW, _LEVEL = 15.0, 1.0  # degrees, from which a picture is searched again upright; that are no skew
_PADDED = 1.25
"""How many times ``max_pixels`` a picture may have with its border."""
_MAX_CANVAS = 40e6  # pixels of an enlarged picture, whose maps are kept


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Settings of the detector.

    Args:
        min_side: Pictures with a shorter side below this are enlarged, by at most ``max_zoom``.
        max_zoom: Largest enlargement.
        max_pixels: Larger pictures are reduced to this many pixels for the first look.
        tile: Side of the parts in which small text is looked for again, in pixels, a multiple of 32.
        max_tiles: Most such parts; bounds the cost of a picture.
    """

    min_side: int = 480
    max_zoom: float = 3.0
    max_pixels: float = 2.0e6
    tile: int = 768
    max_tiles: int = 48


def count_threads() -> int:
    """Count the processors of this process, at most four: memory limits more than that."""
    allowed = getattr(os, "sched_getaffinity", None)
    return max(1, min(4, len(allowed(0)) if allowed else os.cpu_count() or 1))


class Detector:
    """Finds lines of text; may be called from several threads."""

    def __init__(
        self, config: DetectorConfig | None = None, model: Path | None = None, threads: int | None = None
    ) -> None:
        """Load the network; by default the one that comes with nhin, with a thread for each processor."""
        self.config = config or DetectorConfig()
        self._session = open_session(model or BUNDLED, threads or count_threads())

    def find(self, picture: NDArray[np.uint8]) -> Detection:
        """Return the lines of an RGB picture (H x W x 3)."""
        if is_blank(picture):
            return Detection(())
        config, (height, width) = self.config, picture.shape[:2]
        scale = min(max(1.0, config.min_side / min(height, width)), config.max_zoom)
        scale = min(scale, (config.max_pixels / (height * width)) ** 0.5)
        # The border of a strip may be larger than the strip.
        while _pad(height * scale) * _pad(width * scale) > _PADDED * config.max_pixels:
            scale *= 0.9
        small = stretch_contrast(_resize(picture, scale))
        lines, tiny = self._find_at_two_scales(small)
        angle = measure_turn(lines) + measure_skew(lines)
        if abs(angle) > _MAX_SKEW:
            lines = self._find_upright(small, angle)
        lines = [_to_picture(line, picture, small) for line in lines]
        more, is_partial = self._find_tiny(picture, scale, tiny)
        return Detection(tuple(clean_lines(merge_scales(more, lines, 8.0 / scale))), is_partial)

    def _find_at_two_scales(self, picture: NDArray[np.uint8]) -> tuple[list[LineShape], Maps]:
        """Return the lines of a picture, and the map of text that is too small."""
        cores, fields = self._run(picture)
        lines = find_lines(cores, fields)
        if max(picture.shape[:2]) > 2 * _TALLEST:
            coarse = _resize(picture, 1 / _REDUCE)
            large = [_to_picture(line, picture, coarse) for line in find_lines(*self._run(coarse))]
            lines = merge_scales(lines, large, _TALLEST)
        return lines, fields[3]

    def _find_upright(self, picture: NDArray[np.uint8], angle: float) -> list[LineShape]:
        """Return the lines of a picture that is turned by an angle: the network knows upright ones best."""
        color = tuple(np.median(picture.reshape(-1, 3)[::101], axis=0).tolist())
        level, turn = level_picture(picture, angle, _LEVEL, color)
        lines, _ = self._find_at_two_scales(level)
        back = cv2.invertAffineTransform(turn)
        return [
            replace(line, center=(line.center @ back[:, :2].T + back[:, 2]).astype(np.float32))
            for line in lines
        ]

    def _run(self, picture: NDArray[np.uint8]) -> tuple[Maps, Maps]:
        """Return the maps of a picture of any size, without those of its padding."""
        height, width = picture.shape[:2]
        bottom, right = (-side % STRIDE for side in (height, width))
        if bottom or right:
            padded = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
            picture = np.asarray(padded, np.uint8)
        cores, fields = self._session.run(None, {"pixels": picture})
        rows, columns = -(-height // CORE_STRIDE), -(-width // CORE_STRIDE)
        return (
            np.asarray(cores)[:rows, :columns],
            np.asarray(fields)[:, : -(-height // FIELD_STRIDE), : -(-width // FIELD_STRIDE)],
        )

    def _find_tiny(
        self, picture: NDArray[np.uint8], scale: float, tiny: Maps
    ) -> tuple[list[LineShape], bool]:
        """Look again, enlarged, at the parts of a picture that hold text too small for ``scale``."""
        lines: list[LineShape] = []
        left = self.config.max_tiles
        while scale < 1.5:
            area = picture.shape[0] * picture.shape[1]
            finer = min(scale * _ENLARGE, 2.0, (_MAX_CANVAS / area) ** 0.5)
            if finer < 1.2 * scale:
                break
            shape = tuple(max(1, round(side * finer)) for side in picture.shape[:2])
            tiles = [tile for tile in _cut_tiles(shape, self.config.tile) if _is_tiny(tiny, tile, shape)]
            if not tiles:
                break
            cores = np.zeros((shape[0] // 2 + 1, shape[1] // 2 + 1), np.float32)
            fields = np.zeros((4, shape[0] // 4 + 1, shape[1] // 4 + 1), np.float32)
            for tile in tiles[:left]:
                _paste(self._run(_cut(picture, tile, shape)), tile, cores, fields)
            found = [line.transform(1 / finer) for line in find_lines(cores, fields)]
            lines = merge_scales(found, lines, 8.0 / finer)
            if len(tiles) > left:
                return lines, True
            left -= len(tiles)
            scale, tiny = finer, fields[3]
        return lines, False


def _pad(side: float) -> int:
    """Return the length of a side with its border."""
    return -(-max(1, round(side)) // STRIDE) * STRIDE


def _to_picture(line: LineShape, picture: NDArray[np.uint8], seen: NDArray[np.uint8]) -> LineShape:
    """Return a line in pixels of the picture that was seen at another size."""
    return line.transform((picture.shape[0] + picture.shape[1]) / (seen.shape[0] + seen.shape[1]))


def _resize(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1.0:
        return picture
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


@dataclass(frozen=True, slots=True)
class _Tile:
    """A part of an enlarged picture: what is looked at, and the part of it whose maps are taken."""

    top: int
    left: int
    bottom: int
    right: int
    inner: tuple[int, int, int, int]


def _cut_tiles(shape: tuple[int, ...], side: int) -> Iterator[_Tile]:
    """Cut a picture (height, width) into tiles whose inner parts, at multiples of 4, cover it."""
    step = side - 2 * _BORDER
    for y in range(0, shape[0], step):
        for x in range(0, shape[1], step):
            low, high = min(y + step, shape[0]), min(x + step, shape[1])
            yield _Tile(
                max(0, y - _BORDER),
                max(0, x - _BORDER),
                min(shape[0], low + _BORDER),
                min(shape[1], high + _BORDER),
                (y, x, low, high),
            )


def _is_tiny(tiny: Maps, tile: _Tile, shape: tuple[int, ...]) -> bool:
    """Return whether the map of too small text, of the whole picture, is set in a tile."""
    y, x = tiny.shape[0] / shape[0], tiny.shape[1] / shape[1]
    top, left, bottom, right = tile.inner
    part = tiny[int(top * y) : int(bottom * y) + 1, int(left * x) : int(right * x) + 1]
    return bool((part > _TINY).sum() >= _MIN_TINY)


def _cut(picture: NDArray[np.uint8], tile: _Tile, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a tile of the picture as it would be at another size."""
    y, x = picture.shape[0] / shape[0], picture.shape[1] / shape[1]
    part = picture[
        int(tile.top * y) : int(np.ceil(tile.bottom * y)), int(tile.left * x) : int(np.ceil(tile.right * x))
    ]
    size = tile.right - tile.left, tile.bottom - tile.top
    method = cv2.INTER_AREA if y > 1 else cv2.INTER_LINEAR
    return stretch_contrast(np.asarray(cv2.resize(part, size, interpolation=method), np.uint8))


def _paste(maps: tuple[Maps, Maps], tile: _Tile, cores: Maps, fields: Maps) -> None:
    """Put the maps of a tile's inner part where they belong."""
    top, left, bottom, right = tile.inner
    for part, whole, stride in ((maps[0], cores, CORE_STRIDE), (maps[1], fields, FIELD_STRIDE)):
        y, x = top // stride, left // stride
        dy, dx = (top - tile.top) // stride, (left - tile.left) // stride
        high = min(-(-bottom // stride) - y, part.shape[-2] - dy)
        wide = min(-(-right // stride) - x, part.shape[-1] - dx)
        whole[..., y : y + high, x : x + wide] = part[..., dy : dy + high, dx : dx + wide]
