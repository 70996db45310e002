"""Augment a clean picture of text: perspective, warps, blur, resizing, noise, compression.

Every random draw comes from the given generator, so its state determines the picture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.image.preprocess import Pixels
from nhin.image.render import Mask, Rng

_MIN_VARIED = 5
FloatImage = NDArray[Any]  # float32 or float64: OpenCV's types do not distinguish them


def random_perspective(shape: tuple[int, int], rng: Rng) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Draw a random perspective: rotation, slant, stretch and a little foreshortening.

    Args:
        shape: Height and width of the text, in pixels.
        rng: Source of randomness.

    Returns:
        The 3 x 3 matrix from text to picture, and the height and width of the transformed text.
    """
    import cv2

    rows, columns = shape
    draw = rng.random()
    spread = 1.5 if draw < 0.45 else 5.0 if draw < 0.73 else 11.0
    # One in eight is clearly rotated, like a word on a tilted or round sign.
    angle = np.deg2rad(rng.normal(0, spread) if draw < 0.87 else rng.uniform(10, 42) * rng.choice((-1, 1)))
    slant = rng.normal(0, 0.12) if rng.random() < 0.5 else 0.0
    stretch = np.exp(rng.normal(-0.12, 0.22))
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float64)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = corners @ (rotation @ np.array([[stretch, slant], [0, 1]])).T
    if rng.random() < 0.5:
        target = target + rng.normal(0, 0.05, (4, 2)) * rows
    target = target - target.min(axis=0)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))
    height, width = np.ceil(target.max(axis=0)[::-1]).astype(int)
    return np.asarray(matrix, np.float64), (max(4, int(height)), max(4, int(width)))


def vary_crop(picture: Pixels, rng: Rng, strength: float = 1.0) -> Pixels:
    """Change a real crop as another photograph would: turn, slant, other margins, fewer pixels, blur.

    Args:
        picture: height x width x 3 RGB, or height x width.
        rng: Source of randomness.
        strength: Scales the sizes of the changes; 0 changes nothing.
    """
    import cv2

    rows, columns = picture.shape[:2]
    if not strength or min(rows, columns) < _MIN_VARIED:
        return picture
    if rng.random() < 0.75:
        spread = 3.0 if rng.random() < 0.85 else 12.0
        angle, slant = np.deg2rad(strength * rng.normal(0, spread)), strength * rng.normal(0, 0.07)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turn = turn @ np.array([[np.exp(strength * rng.normal(0, 0.08)), slant], [0, 1]])
        corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]]) @ turn.T
        margins = strength * min(rows, columns) * rng.uniform(-0.05, 0.10, 4)
        # The turned box would be wider than its letters: half of what it gains is cut off again.
        low = corners.min(axis=0) / 2 - margins[:2]
        high = (corners.max(axis=0) + np.array([columns, rows])) / 2 + margins[2:]
        size = np.maximum(np.round(high - low), 4).astype(int)
        matrix = np.concatenate([turn, -low[:, None]], axis=1)
        picture = cv2.warpAffine(  # pyright: ignore[reportAssignmentType]
            picture, matrix, size.tolist(), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    rows, columns = picture.shape[:2]
    if rng.random() < 0.25 * strength:
        part = rng.uniform(0.35, 0.9)
        size = (max(3, round(columns * part)), max(3, round(rows * part)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # pyright: ignore[reportAssignmentType]
    if rng.random() < 0.15 * strength:
        sigma = max(0.2, rows * rng.uniform(0.005, 0.04))
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)  # pyright: ignore[reportAssignmentType]
    return np.asarray(picture, np.uint8)


def warp(masks: Sequence[Mask], rng: Rng) -> list[Mask]:
    """Bend text along an arc or a wave, all masks alike; rows are added so that nothing is cut off."""
    import cv2

    rows, columns = masks[0].shape
    depth = rows * rng.uniform(0.05, 0.25)
    x = np.linspace(0, 1, columns, dtype=np.float32)
    wave = (
        np.sin(np.pi * (x * rng.uniform(0.6, 2.0) + rng.uniform(0, 2)))
        if rng.random() < 0.5
        else (2 * x - 1) ** 2 * rng.choice((-1, 1))
    )
    shift = (wave - wave.min()) / max(float(np.ptp(wave)), 1e-6) * depth
    grid_y, grid_x = np.mgrid[0 : rows + int(np.ceil(depth)), 0:columns].astype(np.float32)
    grid_y = grid_y - shift.astype(np.float32)
    warped = (cv2.remap(mask, grid_x, grid_y, cv2.INTER_LINEAR) for mask in masks)
    return [np.asarray(mask, np.float32) for mask in warped]


def degrade(picture: FloatImage, height: int, rng: Rng) -> Pixels:
    """Turn a clean picture into a photograph: light, size, blur, sharpening, noise, JPEG.

    Args:
        picture: height x width x 3, 0 to 255.
        height: Height of the result in pixels; proportions are kept.
        rng: Source of randomness.
    """
    import cv2

    rows, columns = picture.shape[:2]
    width = max(3, round(columns * height / rows))
    if rng.random() < 0.35:
        picture = _shade(picture, rng)
    if rng.random() < 0.12:
        picture = _motion_blur(picture, rng)
    method = cv2.INTER_AREA if height < rows else cv2.INTER_LINEAR
    picture = cv2.resize(picture, (width, height), interpolation=method)
    if rng.random() < 0.55:
        low, high = (0.005, 0.055) if rng.random() < 0.85 else (0.05, 0.09)
        picture = cv2.GaussianBlur(picture, (0, 0), max(0.2, height * rng.uniform(low, high)))
    if rng.random() < 0.25:
        picture = picture + rng.uniform(0.3, 1.5) * (picture - cv2.GaussianBlur(picture, (0, 0), 1.2))
    gain, offset = np.exp(rng.normal(0.1, 0.28)), rng.normal(0, 20)
    picture = (picture - 127.5) * gain + 127.5 + offset
    if rng.random() < 0.5:
        grain = rng.standard_normal((height, width, 1 if rng.random() < 0.5 else 3), dtype=np.float32)
        picture = picture + grain * np.float32(abs(rng.normal(0, 9)))
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.75:
        quality = int(rng.integers(25, 96))
        stored, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8) if stored else pixels
    return pixels


def _shade(picture: FloatImage, rng: Rng) -> FloatImage:
    """Darken toward one side, or add a shadow with a hard edge."""
    rows, columns = picture.shape[:2]
    y, x = np.mgrid[-0.5 : 0.5 : rows * 1j, -0.5 : 0.5 : columns * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (x * np.cos(angle) + y * np.sin(angle)).astype(np.float32)
    if rng.random() < 0.4:
        ramp = np.where(ramp > rng.uniform(-0.4, 0.4), np.float32(0.5), np.float32(-0.5))
    return picture * (1.0 - np.float32(rng.uniform(0.1, 0.6)) * (ramp[:, :, None] + 0.5))


def _motion_blur(picture: FloatImage, rng: Rng) -> FloatImage:
    """Blur along one direction, like a moving camera."""
    import cv2

    reach = max(2, int(picture.shape[0] * rng.uniform(0.03, 0.14)))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    angle = rng.uniform(0, np.pi)
    step = (np.array([np.cos(angle), np.sin(angle)]) * reach / 2).round().astype(int)
    cv2.line(kernel, (reach - step[0], reach - step[1]), (reach + step[0], reach + step[1]), 1.0)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())
