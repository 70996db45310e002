"""Draw the street sign that nhin carries as its example: make_sign.py OUT [FONT]."""

import sys

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROWS = ["PHƯỜNG BẾN THÀNH", "ĐƯỜNG NGUYỄN HUỆ", "Từ số 12 đến số 168", "Điện thoại: 028 3829 4567"]
SIZES_AND_HEIGHTS = [(46, 82), (92, 192), (54, 314), (46, 404)]
WIDTH, HEIGHT = 1280, 720


def draw_board(font: str) -> np.ndarray:
    """Draw the enamel board, seen from the front."""
    sheet = Image.new("RGB", (1120, 480), (18, 62, 140))
    pen = ImageDraw.Draw(sheet)
    pen.rounded_rectangle((14, 14, 1105, 465), 30, outline="white", width=7)
    for text, (size, middle) in zip(ROWS, SIZES_AND_HEIGHTS, strict=True):
        pen.text((560, middle), text, "white", ImageFont.truetype(font, size), anchor="mm")
    return np.array(sheet, np.float32)


def hang_board(sign: np.ndarray) -> np.ndarray:
    """Put the board on a plastered wall, seen slightly from the side, with shadow and light."""
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 16, (HEIGHT, WIDTH)), (0, 0), 2.5)
    corners = np.array([[0, 0], [1120, 0], [1120, 480], [0, 480]], np.float32)
    corners_on_wall = np.array([[96, 124], [1178, 92], [1190, 590], [84, 560]], np.float32)
    transform = cv2.getPerspectiveTransform(corners, corners_on_wall)
    sign, shape = (
        cv2.warpPerspective(part, transform, (WIDTH, HEIGHT)) for part in (sign, np.ones_like(sign))
    )
    shadow = cv2.GaussianBlur(np.roll(shape, (14, 10), (0, 1)), (0, 0), 9)
    wall = (np.array((206, 188, 152)) + grain[..., None]) * (1 - 0.45 * shadow)
    light = np.linspace(1.05, 0.86, WIDTH)[:, None] * np.linspace(1.03, 0.93, HEIGHT)[:, None, None]
    return np.clip((sign + (1 - shape) * wall) * light, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    picture = Image.fromarray(
        hang_board(draw_board(sys.argv[2] if len(sys.argv) > 2 else "DejaVuSans-Bold.ttf"))
    )
    picture.resize((1024, 576), Image.Resampling.LANCZOS).quantize(160).save(sys.argv[1], optimize=True)
