"""Find the lines of text in a picture with the detector in RapidOCR's package.

Only its ONNX file is used: nothing of RapidOCR is imported and nothing is downloaded. The network marks a
shrunk core of each line, which is then expanded to the line (differentiable binarization, Liao et al. 2020,
arXiv:1911.08947). ``line_crop`` adds the margins that Vietnamese marks need.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.errors import MissingExtra
from nhin.image.contrast import is_blank, stretch_contrast
from nhin.reading.onnx_session import open_session

Quad = NDArray[np.float32]
"""Corners, 4 x 2, clockwise from top left, in pixels."""

_STRIDE = 32
_BORDER = 1.25
"""How many times ``max_pixels`` a picture may have with its border."""


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Settings of the detector; lengths in pixels of the network's input.

    Args:
        min_side: Pictures with a shorter side below this are enlarged, by at most ``max_zoom``.
        max_zoom: Largest enlargement.
        max_pixels: Larger pictures are reduced to this many pixels; bounds the cost of a page.
        padding: Border added around, so that text at the edge is found.
        bin_thresh: Probability (0 to 1) from which a pixel belongs to a line.
        box_thresh: Mean probability (0 to 1) that a line needs.
        unclip_ratio: A core is expanded by this times its area over its perimeter.
    """

    min_side: int = 640
    max_zoom: float = 3.0
    max_pixels: float = 1.6e6
    padding: int = 16
    bin_thresh: float = 0.3
    box_thresh: float = 0.5
    unclip_ratio: float = 1.6


def count_threads() -> int:
    """Count the processors of this process, at most four: memory limits more than that."""
    allowed = getattr(os, "sched_getaffinity", None)
    return max(1, min(4, len(allowed(0)) if allowed else os.cpu_count() or 1))


class Detector:
    """Finds lines of text; may be called from several threads."""

    def __init__(self, config: DetectorConfig | None = None, model: Path | None = None) -> None:
        """Load the network; by default the one bundled with RapidOCR."""
        self.config = config or DetectorConfig()
        self._session = open_session(model or bundled_detector(), count_threads(), reuse_memory=False)
        self._input = self._session.get_inputs()[0].name

    def find(self, picture: NDArray[np.uint8]) -> list[Quad]:
        """Return the lines of an RGB picture (H x W x 3), unordered."""
        if is_blank(picture):
            return []
        pixels, scale = _preprocess(picture, self.config)
        prob_map = np.asarray(self._session.run(None, {self._input: pixels})[0])[0, 0]
        quads = [(quad - self.config.padding) / scale for quad in _find_boxes(prob_map, self.config)]
        return [quad for quad in quads if _is_inside(quad, picture.shape[1], picture.shape[0])]


def bundled_detector() -> Path:
    """Return the detector inside the installed RapidOCR package, without importing the package.

    Raises:
        MissingExtra: RapidOCR is not installed, or contains no detector.
    """
    spec = find_spec("rapidocr")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder, "models").glob("*_det_*.onnx"), reverse=True):
            return path
    raise MissingExtra("whole pictures need the text detector of rapidocr: pip install rapidocr")


def _preprocess(picture: NDArray[np.uint8], config: DetectorConfig) -> tuple[NDArray[np.float32], float]:
    """Scale, pad and normalize a picture; return 1 x 3 x H x W (BGR, -1 to 1) and the scale."""
    height, width = picture.shape[:2]
    scale = min(max(1.0, config.min_side / min(height, width)), config.max_zoom)
    scale = min(scale, (config.max_pixels / (height * width)) ** 0.5)
    # The border of a strip may be larger than the strip.
    while _padded(height * scale, config) * _padded(width * scale, config) > _BORDER * config.max_pixels:
        scale *= 0.9
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    small = stretch_contrast(np.asarray(small, np.uint8))
    pad = config.padding
    bottom, right = (-(side + 2 * pad) % _STRIDE + pad for side in (size[1], size[0]))
    padded = cv2.copyMakeBorder(small, pad, bottom, pad, right, cv2.BORDER_REPLICATE)
    bgr = padded[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
    return np.ascontiguousarray((bgr / 127.5 - 1.0)[None]), scale


def _padded(side: float, config: DetectorConfig) -> int:
    """Return the length of a side with its border."""
    return -(-(max(1, round(side)) + 2 * config.padding) // _STRIDE) * _STRIDE


def _find_boxes(prob_map: NDArray[np.float32], config: DetectorConfig) -> list[Quad]:
    """Turn the probability map of cores into line boxes, in pixels of the map."""
    mask = cv2.dilate((prob_map > config.bin_thresh).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    quads: list[Quad] = []
    for contour in contours:
        center, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < 3:
            continue
        if _box_score(prob_map, cv2.boxPoints((center, (width, height), angle))) < config.box_thresh:
            continue
        growth = 2 * config.unclip_ratio * width * height / (2 * (width + height))
        quads.append(order_corners(cv2.boxPoints((center, (width + growth, height + growth), angle))))
    return quads


def _box_score(prob_map: NDArray[np.float32], box: NDArray) -> float:
    """Return the mean probability inside a box."""
    low = np.clip(np.floor(box.min(axis=0)), 0, None).astype(int)
    high = np.ceil(box.max(axis=0)).astype(int) + 1
    window = prob_map[low[1] : high[1], low[0] : high[0]]
    inside = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(box - low).astype(np.int32)], (1,))
    return float(cv2.mean(window, inside)[0])


def order_corners(corners: NDArray) -> Quad:
    """Order the corners of a rectangle clockwise from the top left of its most level side.

    A box taller than wide stays tall: the recognizer decides whether its text is rotated.
    """
    corners = np.asarray(corners, np.float32)
    center = corners.mean(axis=0)
    angles = np.arctan2(*(corners - center).T[::-1])
    ring = corners[np.argsort(angles)]
    sides = np.roll(ring, -1, axis=0) - ring
    # The top side of a clockwise ring (y grows downwards) is the one that points right.
    return np.roll(ring, -int(np.argmax(sides[:, 0] / (np.hypot(*sides.T) + 1e-6))), axis=0)


def enlarge_box(quad: Quad, wide: float, tall: float) -> Quad:
    """Expand a box along its sides, by shares of its line height, which is its shorter side."""
    across, down = quad[1] - quad[0], quad[3] - quad[0]
    width, height = max(float(np.hypot(*across)), 1e-6), max(float(np.hypot(*down)), 1e-6)
    line = min(width, height)
    # In a tall box the line runs downwards, and its height is horizontal.
    side, rise = (wide, tall) if width >= height else (tall, wide)
    across, down = across / width * line * side, down / height * line * rise
    return quad + np.array([-across - down, across - down, across + down, down - across], np.float32)


def _is_inside(quad: Quad, width: int, height: int) -> bool:
    """Return whether the center of a box lies in the picture and its sides are at least 4 pixels."""
    x, y = quad.mean(axis=0)
    sides = np.hypot(*(quad[1] - quad[0])), np.hypot(*(quad[3] - quad[0]))
    return bool(0 <= x < width and 0 <= y < height and min(sides) >= 4)
