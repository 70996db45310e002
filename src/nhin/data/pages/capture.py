"""What happens between a page and its picture: scaling, turning, perspective, curl, light, noise, JPEG."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nhin.data.pages.page_writer import DrawnPage, PageLine, Points
from nhin.image.preprocess import Pixels
from nhin.image.render import Rng

Transform = NDArray[np.float64]
"""3 x 3, from points of the page to points of the picture."""

PROCESSES = ("clean", "scanned", "photographed")
"""How a whole page becomes a picture; see ``capture_page``."""

_DESK = (90, 80, 70)
_PLAIN = 0.4  # of the pages are not photographed: screens and files
_DOTS = 0.08  # of the plain ones are printed with dots
_TURNED = 0.3  # of the pages stand on a side or on their head


def take_picture(
    page: DrawnPage, shape: tuple[int, int], rng: Rng, *, scale: float = 1.0, upright: bool = False
) -> DrawnPage:
    """Take a picture of a part of a page.

    Args:
        page: The page.
        shape: Height and width of the picture.
        rng: Source of randomness.
        scale: Pixels of the picture for each pixel of the page, at most 1.
        upright: Whether the page must not be turned by 90, 180 or 270 degrees.

    Returns:
        The picture and the lines of which at least a part is in it.
    """
    import cv2

    if scale < 1:
        page = _reduce(page, scale)
    is_plain = rng.random() < _PLAIN
    turn = 0 if upright or rng.random() >= _TURNED else int(rng.integers(1, 4))
    transform = _place(page, shape, turn, is_plain, rng)
    desk = page.picture[0, 0] if is_plain else rng.integers(0, 256, 3)
    picture = _warp(page.picture, transform, shape, desk)
    bend = None if is_plain or rng.random() > 0.3 else _Bend(shape, rng)
    if bend is not None:
        picture = cv2.remap(picture, *bend.sources(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lines = (_move(line, transform, bend) for line in page.lines)
    inside = tuple(line for line in lines if _is_visible(line, shape))
    pixels = np.asarray(picture, np.uint8)
    return DrawnPage(expose(pixels, rng, is_plain), inside, page.kind)


def capture_page(page: DrawnPage, process: str, rng: Rng, *, turn: int = 0, skew: float = 0.0) -> DrawnPage:
    """Take a picture of a whole page.

    Args:
        page: The page.
        process: ``clean``: as it is; ``scanned``; ``photographed``, also seen a little from the side.
        rng: Source of randomness.
        turn: Clockwise degrees, a multiple of 90.
        skew: More degrees.
    """
    import cv2

    height, width = page.picture.shape[:2]
    if process == "scanned":
        skew += float(rng.normal(0, 0.4))
    if process == "photographed":
        skew += float(rng.normal(0, 2.0))
    angle = np.radians(turn + skew)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    if process == "photographed":
        moved += rng.uniform(-0.02, 0.02, (4, 2)).astype(np.float32) * min(height, width)
    moved -= moved.min(0)
    shape = tuple(int(np.ceil(side)) for side in moved.max(0)[::-1])
    if turn or skew or process == "photographed":
        target = np.rint(moved) if not skew else moved
        transform = np.asarray(cv2.getPerspectiveTransform(corners, target), np.float64)
        desk = page.picture[0, 0] if process != "photographed" else _DESK
        picture = _warp(page.picture, transform, (shape[0], shape[1]), desk)
        page = DrawnPage(
            np.asarray(picture, np.uint8),
            tuple(_move(line, transform, None) for line in page.lines),
            page.kind,
        )
    if process == "clean":
        return page
    develop = _scan if process == "scanned" else _photograph
    return replace(page, picture=develop(page.picture, rng))


def _warp(picture: Pixels, transform: Transform, shape: tuple[int, int], desk: Iterable[int]) -> Pixels:
    """Move a picture into one of a shape (height, width), on a desk of one color."""
    import cv2

    moved = cv2.warpPerspective(
        picture,
        transform,
        shape[::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(int(value) for value in desk),
    )
    return np.asarray(moved, np.uint8)


def _reduce(page: DrawnPage, scale: float) -> DrawnPage:
    """Reduce a page, as a scan or a photograph is reduced before detection."""
    import cv2

    height, width = page.picture.shape[:2]
    size = max(8, round(width * scale)), max(8, round(height * scale))
    picture = np.asarray(cv2.resize(page.picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    ratio = np.array([size[0] / width, size[1] / height], np.float32)
    lines = (replace(line, center=line.center * ratio, up=line.up * ratio) for line in page.lines)
    return DrawnPage(picture, tuple(lines), page.kind)


def _place(page: DrawnPage, shape: tuple[int, int], turn: int, is_plain: bool, rng: Rng) -> Transform:
    """Turn and tilt the page, and move it so that the picture shows a random part of it."""
    import cv2

    height, width = page.picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    angle = np.radians(90.0 * turn)
    if not is_plain:
        draw = rng.random()
        spread = 1.0 if draw < 0.5 else 5.0 if draw < 0.85 else 25.0
        angle += np.radians(rng.normal(0, spread))
    cos, sin = np.cos(angle), np.sin(angle)
    moved = corners @ np.array([[cos, sin], [-sin, cos]], np.float32)
    if not is_plain and rng.random() < 0.5:
        moved += rng.uniform(-0.1, 0.1, (4, 2)).astype(np.float32) * rng.random() * min(height, width)
    low, high = moved.min(0), moved.max(0)
    room = np.array(shape[::-1], np.float32) - (high - low)
    # A page larger than the picture covers it; a smaller one lies anywhere in it.
    slack = np.array(shape[::-1], np.float32) * 0.12 * (room < 0)
    offset = np.where(
        room < 0, -low + rng.uniform(0, 1, 2) * (room - 2 * slack) + slack, -low + rng.uniform(0, 1, 2) * room
    )
    target = (moved + offset).astype(np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners, target), np.float64)


class _Bend:
    """A displacement along both axes by slow waves, as an open book or a crumpled sheet has."""

    def __init__(self, shape: tuple[int, int], rng: Rng) -> None:
        self.shape = shape
        self.waves = rng.uniform(0.3, 1.3, 2) * 2 * np.pi / max(shape)
        self.phases = rng.uniform(0, 2 * np.pi, 2)
        self.reach = rng.uniform(0.2, 1.0) * np.array([0.3, 1.0], np.float32) * 0.02 * max(shape)

    def displace(self, points: Points) -> Points:
        """Return the displacement (x, y) at points."""
        x = self.reach[0] * np.sin(points[..., 1] * self.waves[0] + self.phases[0])
        y = self.reach[1] * np.sin(points[..., 0] * self.waves[1] + self.phases[1])
        return np.stack([x, y], -1).astype(np.float32)

    def sources(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return where the pixels of the bent picture come from."""
        y, x = np.mgrid[: self.shape[0], : self.shape[1]].astype(np.float32)
        target = np.stack([x, y], -1)
        source = target - self.displace(target)
        source = target - self.displace(source)
        return np.ascontiguousarray(source[..., 0]), np.ascontiguousarray(source[..., 1])


def _move(line: PageLine, transform: Transform, bend: _Bend | None) -> PageLine:
    """Move a line as its page."""

    def move(points: Points) -> Points:
        mapped = np.concatenate([points, np.ones((len(points), 1), np.float32)], 1) @ transform.T
        points = (mapped[:, :2] / mapped[:, 2:]).astype(np.float32)
        return points if bend is None else points + bend.displace(points)

    center = move(line.center)
    return replace(line, center=center, up=move(line.center + line.up) - center)


def _is_visible(line: PageLine, shape: tuple[int, int]) -> bool:
    inside = (line.center >= 0).all(1) & (line.center < np.array(shape[::-1], np.float32)).all(1)
    return bool(inside.any())


def expose(picture: Pixels, rng: Rng, is_plain: bool) -> Pixels:
    """Change colors, light and sharpness; add noise; compress.

    Args:
        picture: height x width x 3, RGB.
        rng: Source of randomness.
        is_plain: Whether it is a file or a screen: mostly as it is.
    """
    if is_plain and rng.random() < _DOTS:
        return _print_dots(picture, rng)
    if is_plain:
        return _compress(picture, rng, 30) if rng.random() < 0.4 else picture
    draw = rng.random()
    if draw < 0.3:
        return _scan(picture, rng)
    if draw < 0.4:
        return _fax(picture, rng)
    return _photograph(picture, rng)


def _photograph(picture: Pixels, rng: Rng) -> Pixels:
    import cv2

    values = picture.astype(np.float32)
    height, width = picture.shape[:2]
    low = rng.uniform(0.35, 1.0)
    light = cv2.resize(
        rng.uniform(low, 1.15, (3, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    values *= np.asarray(light)[:, :, None] * rng.uniform(0.85, 1.1, 3).astype(np.float32)
    if rng.random() < 0.25:
        values *= _shadow((height, width), rng)[:, :, None]
    if rng.random() < 0.7:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.3, 1.4))))
    values += rng.normal(0, rng.uniform(0, 14), (height, width, 1)).astype(np.float32)
    return _compress(np.clip(values, 0, 255).astype(np.uint8), rng, 20)


def _shadow(shape: tuple[int, int], rng: Rng) -> NDArray[np.float32]:
    """Darken one side of a line across the picture."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    edge = along.min() + rng.uniform(0.1, 0.9) * np.ptp(along)
    soft = rng.uniform(1, 40)
    return (1 - rng.uniform(0.2, 0.65) / (1 + np.exp(np.clip((along - edge) / soft, -30, 30)))).astype(
        np.float32
    )


def _scan(picture: Pixels, rng: Rng) -> Pixels:
    import cv2

    values = picture.astype(np.float32)
    if rng.random() < 0.5:
        values[:] = values.mean(2, keepdims=True)
    if rng.random() < 0.7:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.3, 0.9))))
    if rng.random() < 0.2:  # the other side shows through
        strength = float(rng.uniform(0.04, 0.2))
        behind = np.roll(values[:, ::-1], rng.integers(-40, 41, 2), (0, 1))
        values = np.minimum(values, 255 * (1 - strength) * rng.uniform(0.95, 1.1) + strength * behind)
    values += rng.normal(0, rng.uniform(0, 10), values.shape[:2]).astype(np.float32)[:, :, None]
    specks = rng.random(values.shape[:2]) < rng.uniform(0, 0.002)
    values[specks] = rng.uniform(0, 80)
    return _compress(np.clip(values, 0, 255).astype(np.uint8), rng, 25)


def _fax(picture: Pixels, rng: Rng) -> Pixels:
    """Keep black and white alone, by the light around each pixel."""
    import cv2

    gray = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    around = cv2.boxFilter(gray, -1, (61, 61))
    black = gray.astype(np.int16) < around.astype(np.int16) - int(rng.integers(8, 40))
    return np.repeat(np.where(black, 0, 255).astype(np.uint8)[:, :, None], 3, 2)


def _print_dots(picture: Pixels, rng: Rng) -> Pixels:
    """Print the darker half of the tones with needles: a grid of round dots."""
    import cv2

    pitch = float(rng.uniform(2.0, 4.5))
    height, width = picture.shape[:2]
    gray = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    size = max(4, round(width / pitch)), max(4, round(height / pitch))
    coarse = np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA))
    paper = int(np.median(coarse))
    ink = np.abs(coarse.astype(int) - paper) > 50
    y, x = np.mgrid[-1.5:2.5, -1.5:2.5]
    dot = np.clip(rng.uniform(1.5, 2.3) - np.hypot(x, y), 0, 1).astype(np.float32)
    dots = np.kron(ink.astype(np.float32), dot)
    cover = np.asarray(cv2.resize(dots, (width, height), interpolation=cv2.INTER_AREA))[:, :, None]
    values = paper + cover * (rng.uniform(0, 90) - paper)
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8), 3, 2)


def _compress(picture: Pixels, rng: Rng, lowest: int) -> Pixels:
    import cv2

    stored, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(lowest, 96))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8) if stored else picture
