"""Draw the street sign that nhin carries as its example: make_sign.py OUT [FONT]."""

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROWS = (("PHƯỜNG BẾN THÀNH", 46), ("ĐƯỜNG NGUYỄN HUỆ", 92), ("Từ số 12 đến số 168", 54), ("Điện thoại: 028 3829 4567", 46))
BLUE, WHITE = (18, 62, 140), (244, 246, 248)


def board(font: str) -> Image.Image:
    """Draw the enamel board, seen straight on."""
    sheet = Image.new("RGB", (1120, 480), BLUE)
    pen = ImageDraw.Draw(sheet)
    pen.rounded_rectangle((14, 14, 1105, 465), 30, outline=WHITE, width=7)
    for (text, size), middle in zip(ROWS, (82, 192, 314, 404), strict=True):
        pen.text((560, middle), text, WHITE, ImageFont.truetype(font, size), anchor="mm")
    for x, y in ((52, 52), (1068, 52), (52, 428), (1068, 428)):
        pen.ellipse((x - 9, y - 9, x + 9, y + 9), (150, 155, 160), (70, 75, 80), 2)
    return sheet


def scene(font: str) -> Image.Image:
    """Hang the board on a plastered wall, a little from the side, in the light of an afternoon."""
    random = np.random.default_rng(0)
    grain = cv2.GaussianBlur(random.normal(0, 1, (720, 1280)).astype(np.float32), (0, 0), 2.5)
    wall = np.array((206, 188, 152)) + grain[..., None] * 16
    corners = np.float32([[0, 0], [1120, 0], [1120, 480], [0, 480]])
    place = cv2.getPerspectiveTransform(corners, np.float32([[96, 124], [1178, 92], [1190, 590], [84, 560]]))
    sign = cv2.warpPerspective(np.array(board(font), np.float32), place, (1280, 720))
    shape = cv2.warpPerspective(np.ones((480, 1120), np.float32), place, (1280, 720))
    shadow = cv2.GaussianBlur(np.roll(shape, (14, 10), (0, 1)), (0, 0), 9)[..., None]
    mixed = sign + (1 - shape[..., None]) * wall * (1 - 0.45 * shadow)
    light = np.linspace(1.05, 0.86, 1280)[None, :, None] * np.linspace(1.03, 0.93, 720)[:, None, None]
    return Image.fromarray(np.clip(mixed * light, 0, 255).astype(np.uint8)).resize((1024, 576), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    face = sys.argv[2] if len(sys.argv) > 2 else "DejaVuSans-Bold.ttf"
    scene(face).quantize(160).save(Path(sys.argv[1]), optimize=True)
