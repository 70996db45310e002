"""Find the lines of text in a picture with the detector RapidOCR carries in its package.

Only its file is used, run by ONNX Runtime directly: nothing of RapidOCR is imported, nothing is
downloaded, no recogniser is loaded. The network marks the heart of each line; a heart is grown back
to the line (differentiable binarisation, Liao et al. 2020, arXiv:1911.08947). How much further a
crop reaches, for the sake of the marks, is decided in ``lines``.
"""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.errors import MissingExtra
from nhin.image.contrast import is_blank, stretch_contrast

Quad = NDArray[np.float32]
"""Corners, 4 x 2, clockwise from top left, in pixels."""

_STRIDE = 32


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """What the detector is run with; lengths in pixels of the picture as the network sees it.

    Args:
        min_side: Shorter side below which a picture is made larger, by at most ``max_zoom``.
        max_zoom: Largest enlargement.
        max_pixels: Number of pixels above which a picture is made smaller; what a page costs is set here.
        padding: Border laid around, so that text at the very edge is found.
        bin_thresh: Probability (0 to 1) from which a pixel belongs to a line.
        box_thresh: Mean probability (0 to 1) a line needs.
        unclip_ratio: How far a heart is grown: this times its area over its perimeter.
    """

    min_side: int = 640
    max_zoom: float = 3.0
    max_pixels: float = 1.6e6
    padding: int = 16
    bin_thresh: float = 0.3
    box_thresh: float = 0.5
    unclip_ratio: float = 1.6


def count_threads() -> int:
    """Count the processors this process may use, at most four: more only waits for memory."""
    allowed = getattr(os, "sched_getaffinity", None)
    return max(1, min(4, len(allowed(0)) if allowed else os.cpu_count() or 1))


class Detector:
    """Finds lines. Loads once; may be called from several threads."""

    def __init__(self, config: DetectorConfig | None = None, model: Path | None = None) -> None:
        """Load the network; by default the one bundled with RapidOCR."""
        import onnxruntime

        self.config = config or DetectorConfig()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Every picture has its own shape: kept arenas would only grow.
        options.enable_cpu_mem_arena = False
        options.intra_op_num_threads = count_threads()
        # Threads that spin while they wait starve whoever shares the processor.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = model or bundled_detector()
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def find(self, picture: NDArray[np.uint8]) -> list[Quad]:
        """Return the lines of an RGB picture (H x W x 3), in no order; none on a blank picture."""
        if is_blank(picture):
            return []
        sheet, scale = _preprocess(picture, self.config)
        hearts = np.asarray(self._session.run(None, {self._input: sheet})[0])[0, 0]
        quads = [(quad - self.config.padding) / scale for quad in _find_boxes(hearts, self.config)]
        return [quad for quad in quads if _is_inside(quad, picture.shape[1], picture.shape[0])]


def bundled_detector() -> Path:
    """Return the detector inside the installed RapidOCR package, without importing the package.

    Raises:
        MissingExtra: RapidOCR is not installed, or carries no detector.
    """
    spec = importlib.util.find_spec("rapidocr")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder, "models").glob("*_det_*.onnx"), reverse=True):
            return path
    raise MissingExtra("whole pictures need the text detector of rapidocr: pip install rapidocr")


def _preprocess(picture: NDArray[np.uint8], config: DetectorConfig) -> tuple[NDArray[np.float32], float]:
    """Scale, frame and normalise a picture; return 1 x 3 x H x W (BGR, -1 to 1) and the scale."""
    height, width = picture.shape[:2]
    scale = min(max(1.0, config.min_side / min(height, width)), config.max_zoom)
    scale = min(scale, (config.max_pixels / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    small = stretch_contrast(np.asarray(small, np.uint8))
    edge = config.padding
    down, right = (-(side + 2 * edge) % _STRIDE + edge for side in (size[1], size[0]))
    framed = cv2.copyMakeBorder(small, edge, down, edge, right, cv2.BORDER_REPLICATE)
    bgr = framed[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
    return np.ascontiguousarray((bgr / 127.5 - 1.0)[None]), scale


def _find_boxes(prob_map: NDArray[np.float32], config: DetectorConfig) -> list[Quad]:
    """Turn the map of hearts into line boxes, in pixels of the map."""
    mask = cv2.dilate((prob_map > config.bin_thresh).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found: list[Quad] = []
    for contour in contours:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < 3:
            continue
        if _box_score(prob_map, cv2.boxPoints((centre, (width, height), angle))) < config.box_thresh:
            continue
        reach = 2 * config.unclip_ratio * width * height / (2 * (width + height))
        found.append(order_corners(cv2.boxPoints((centre, (width + reach, height + reach), angle))))
    return found


def _box_score(prob_map: NDArray[np.float32], box: NDArray) -> float:
    """Return the mean probability inside a box."""
    low = np.clip(np.floor(box.min(axis=0)), 0, None).astype(int)
    high = np.ceil(box.max(axis=0)).astype(int) + 1
    window = prob_map[low[1] : high[1], low[0] : high[0]]
    inside = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(box - low).astype(np.int32)], (1,))
    return float(cv2.mean(window, inside)[0])


def order_corners(corners: NDArray) -> Quad:
    """Order the corners of a rectangle clockwise, beginning at the top left of its most level side.

    A box taller than wide stays tall: whether its text is turned, the recogniser decides.
    """
    corners = np.asarray(corners, np.float32)
    centre = corners.mean(axis=0)
    turn = np.arctan2(*(corners - centre).T[::-1])
    ring = corners[np.argsort(turn)]
    sides = np.roll(ring, -1, axis=0) - ring
    # The top side of a clockwise ring (y grows downwards) is the one that points right.
    return np.roll(ring, -int(np.argmax(sides[:, 0] / (np.hypot(*sides.T) + 1e-6))), axis=0)


def enlarge_box(quad: Quad, wide: float, tall: float) -> Quad:
    """Grow a box along its own sides; both shares are of its line height, the shorter of its sides."""
    across, down = quad[1] - quad[0], quad[3] - quad[0]
    width, height = max(float(np.hypot(*across)), 1e-6), max(float(np.hypot(*down)), 1e-6)
    line = min(width, height)
    # In a tall box the line runs downwards, so its height lies across.
    side, rise = (wide, tall) if width >= height else (tall, wide)
    across, down = across / width * line * side, down / height * line * rise
    return quad + np.array([-across - down, across - down, across + down, down - across], np.float32)


def _is_inside(quad: Quad, width: int, height: int) -> bool:
    """Tell whether the middle of a box lies in the picture and the box is more than a speck."""
    x, y = quad.mean(axis=0)
    sides = np.hypot(*(quad[1] - quad[0])), np.hypot(*(quad[3] - quad[0]))
    return bool(0 <= x < width and 0 <= y < height and min(sides) >= 4)
