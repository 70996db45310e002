"""Where the decoder looked in the picture of a word or a line while it wrote each character, as JSON."""

import json
from typing import Any

from nhin.errors import PictureError
from nhin.image.preprocess import Pixels
from nhin.reading.decoder_attention import Decoder, TextAttention, trace_line, trace_text
from nhin.reading.long_lines import is_long
from nhin.reading.recognizer import Recognizer
from nhin.text.letters import nfc

MAX_TEXT = 200
"""Characters of a text."""
_MAX_ASPECT = 150


def trace_picture(recognizer: Recognizer, decoder: Decoder, pixels: Pixels, text: str) -> bytes:
    """Return JSON: ``{"parts": [{"text", "left", "right", "rows", "weights"}]}``.

    A long line is read in windows and has a part for each, with the text that is read there; a shorter one
    has one part, with the text that is given. ``left`` and ``right`` are shares of the picture's width;
    ``weights`` has for each character, and for the end, the weight of each cell, row by row, the mean over
    all layers and heads.

    Raises:
        PictureError: It is no picture of a line.
    """
    height, width = pixels.shape[:2]
    if width > _MAX_ASPECT * height:
        raise PictureError(f"the picture is {width} x {height} pixels, too wide for a line of text")
    if is_long(pixels):
        parts = trace_line(recognizer, decoder, pixels, recognizer.read([pixels])[0])
    else:
        parts = (trace_text(recognizer, decoder, pixels, nfc(text)),)
    tree = {"parts": [_describe_part(part, pixels) for part in parts]}
    return json.dumps(tree, ensure_ascii=False).encode()


def _describe_part(part: TextAttention, pixels: Pixels) -> dict[str, Any]:
    width, mean = pixels.shape[1], part.weights.mean((0, 1))
    count, rows, frames = mean.shape
    return {
        "text": part.text,
        "left": round(part.left / width, 4),
        # The padding behind a crop is seen too.
        "right": round((part.left + frames * part.frame_width) / width, 4),
        "rows": rows,
        "weights": [
            [round(float(weight), 4) for weight in one] for one in mean.reshape(count, rows * frames)
        ],
    }
