"""Pictures without text: blanks, textures, bar codes and noises, each determined by seed and index.

A recognizer should give no text for any of them. Training can take them as blanks (``SyntheticSource``), and
``nhin calibrate`` chooses on them how improbable a text must be to be dropped.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nhin.image.augment import degrade
from nhin.image.preprocess import Pixels
from nhin.image.render import Rng, random_colors

Coverage = NDArray[np.float64]
"""Share of ink in each pixel, height x width, 0 to 1."""

_HEIGHTS, _MIN_ASPECT, _MAX_ASPECT = (14, 120), 0.5, 10.0
_PLAIN_SHARE = 0.15  # of the pictures that are not degraded, as if made by a program


def draw_textless(seed: int, index: int) -> tuple[Pixels, str]:
    """Return the picture at a position of the stream (height x width x 3, RGB), and its kind.

    The kinds, the keys of ``KINDS``, take turns.
    """
    kind = list(KINDS)[index % len(KINDS)]
    return draw_kind(kind, np.random.default_rng((seed, index))), kind


def draw_kind(kind: str, rng: Rng, shape: tuple[int, int] | None = None) -> Pixels:
    """Draw a picture of one of the ``KINDS``, of a shape (height, width) or of a random one."""
    if shape is None:
        height = int(np.exp(rng.uniform(*np.log(_HEIGHTS))))
        width = max(8, int(height * np.exp(rng.uniform(np.log(_MIN_ASPECT), np.log(_MAX_ASPECT)))))
    else:
        height, width = shape
    draws = KINDS[kind]
    coverage = draws[int(rng.integers(len(draws)))]((height, width), rng)[:, :, None]
    background, ink = random_colors(rng)
    canvas = (background + coverage * (ink - background)).astype(np.float32)
    if rng.random() < _PLAIN_SHARE:
        return np.clip(canvas, 0, 255).astype(np.uint8)
    return degrade(canvas, height, rng)


def _grid(shape: tuple[int, int], rng: Rng) -> tuple[Coverage, Coverage]:
    """Return the coordinates of each pixel along two rotated axes, in pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    angle = rng.uniform(0, np.pi)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _enlarge(values: Coverage, shape: tuple[int, int], smooth: bool = True) -> Coverage:
    import cv2

    method = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
    return np.clip(np.asarray(cv2.resize(values, shape[::-1], interpolation=method), np.float64), 0, 1)


def _flat(shape: tuple[int, int], rng: Rng) -> Coverage:
    return np.full(shape, rng.uniform())


def _gradient(shape: tuple[int, int], rng: Rng) -> Coverage:
    along, _ = _grid(shape, rng)
    return (along - along.min()) / max(1.0, float(np.ptp(along))) * rng.uniform(0.1, 1)


def _shadow(shape: tuple[int, int], rng: Rng) -> Coverage:
    """Draw the edge of a shadow or of a sheet across the picture."""
    along, across = _grid(shape, rng)
    edge = along + rng.uniform(0, 0.1) * across
    softness = max(shape) * rng.uniform(0.02, 0.4)
    return 0.6 / (1 + np.exp(-(edge - np.quantile(edge, rng.uniform(0.1, 0.9))) / softness))


def _clouds(shape: tuple[int, int], rng: Rng) -> Coverage:
    """Add noise of several sizes: stone, plaster, foliage out of focus."""
    total, weight = np.zeros(shape), 0.0
    for octave in range(int(rng.integers(2, 6))):
        size = tuple(max(2, side * 2**octave // max(shape) * 3) for side in shape)
        total += _enlarge(rng.random(size), shape) * 0.65**octave
        weight += 0.65**octave
    return total / weight


def _wood(shape: tuple[int, int], rng: Rng) -> Coverage:
    along, across = _grid(shape, rng)
    bend = _clouds(shape, rng) * rng.uniform(3, 15) + 0.02 * across
    return 0.5 + 0.5 * np.sin(along / rng.uniform(1, 6) + bend)


def _stripes(shape: tuple[int, int], rng: Rng) -> Coverage:
    period = rng.uniform(3, max(4, min(12, min(shape) / 4)))  # fewer lines could be dashes
    wave = np.sin(_grid(shape, rng)[0] * 2 * np.pi / period)
    return (wave > rng.uniform(-0.5, 0.5)).astype(np.float64) if rng.random() < 0.5 else 0.5 + 0.5 * wave


def _mesh(shape: tuple[int, int], rng: Rng) -> Coverage:
    """Draw a chessboard or a mesh of wires."""
    period = rng.uniform(4, 12)
    first, second = (np.sin(axis * 2 * np.pi / period) for axis in _grid(shape, rng))
    return (first * second > 0 if rng.random() < 0.5 else np.maximum(first, second) > 0.8).astype(np.float64)


def _bricks(shape: tuple[int, int], rng: Rng) -> Coverage:
    y, x = np.mgrid[: shape[0], : shape[1]]
    high = int(rng.integers(5, 14))
    wide, joint = int(high * rng.uniform(1.5, 3)), max(1, high // 6)
    row = y // high
    is_joint = (y % high < joint) | ((x + row % 2 * (wide // 2)) % wide < joint)
    shades = rng.uniform(0, 0.4, (shape[0] // high + 1, shape[1] // wide + 2))
    return np.where(is_joint, 1.0, shades[row, (x + row % 2 * (wide // 2)) // wide])


def _bar_code(shape: tuple[int, int], rng: Rng) -> Coverage:
    """Draw bars of 1 to 4 modules, like those of EAN and Code 128, from edge to edge or with margins."""
    module = rng.uniform(1, max(1.5, min(4, min(shape) / 16)))  # fewer bars could be letters
    widths = rng.integers(1, 5, int(shape[1] / module) + 2) * module
    edges = np.cumsum(widths)
    bars = (np.searchsorted(edges, np.arange(shape[1])) % 2).astype(np.float64)
    if rng.random() < 0.5:
        margin = int(shape[1] * rng.uniform(0, 0.1))
        bars[:margin], bars[shape[1] - margin :] = 0, 0
    return np.repeat(bars[None], shape[0], 0) if rng.random() < 0.8 else _turn(bars, shape)


def _turn(bars: Coverage, shape: tuple[int, int]) -> Coverage:
    return np.repeat(np.resize(bars, shape[0])[:, None], shape[1], 1)


def _matrix_code(shape: tuple[int, int], rng: Rng) -> Coverage:
    module = rng.uniform(1.5, 5)
    size = tuple(max(4, int(side / module)) for side in shape)
    return _enlarge((rng.random(size) < 0.5).astype(np.float64), shape, smooth=False)


def _white_noise(shape: tuple[int, int], rng: Rng) -> Coverage:
    return np.clip(rng.normal(0.5, rng.uniform(0.02, 0.5), shape), 0, 1)


def _specks(shape: tuple[int, int], rng: Rng) -> Coverage:
    return (rng.random(shape) < rng.uniform(0.005, 0.3)).astype(np.float64)


def _coarse_noise(shape: tuple[int, int], rng: Rng) -> Coverage:
    grain = rng.uniform(1.5, 6)
    size = tuple(max(2, int(side / grain)) for side in shape)
    return _enlarge(np.clip(rng.normal(0.5, rng.uniform(0.05, 0.5), size), 0, 1), shape)


def _scan_lines(shape: tuple[int, int], rng: Rng) -> Coverage:
    """Draw noise in whole rows or columns, as a bad sensor or cable does."""
    rows = rng.random() < 0.5
    values = rng.random((shape[0], 1) if rows else (1, shape[1]))
    return np.clip(values * rng.uniform(0.2, 1) + rng.normal(0, 0.1, shape), 0, 1)


KINDS: dict[str, tuple[Callable[[tuple[int, int], Rng], Coverage], ...]] = {
    "blank": (_flat, _gradient, _shadow),
    "texture": (_clouds, _wood, _stripes, _mesh, _bricks),
    "bar code": (_bar_code, _matrix_code),
    "noise": (_white_noise, _specks, _coarse_noise, _scan_lines),
}
"""The functions that draw each kind."""
